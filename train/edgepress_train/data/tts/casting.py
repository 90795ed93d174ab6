"""Who says it, and how: voices divided between training and validation, and drawn as various as they can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress_train.data.tts import styles
from edgepress_train.data.tts.engines import Cast
from edgepress_train.data.tts.voice import Manner, SpeechError, Voice

# Engines that may be kept for validation as a whole, the first that is here beside others
_KEPT = ("pico", "flite", "piper", "espeak", "hibari")
# How much each engine speaks of what the cheap ones (all but Kokoro) say
_SHARES = {"piper": 3.0, "pico": 2.0, "hibari": 1.5, "flite": 1.5, "festival": 0.5, "espeak": 1.5}
_FOREIGN = 0.25  # share of Kokoro's clips by speakers of other languages than the text's
_HELD_OUT = 0.1  # share of Kokoro's speakers that only validate


@dataclass(frozen=True)
class Company:
    """The voices of one split, all able to say the language. `engine` is the one kept for validation, or ""."""

    voices: tuple[Voice, ...]
    language: str

    def of(self, engine: str) -> tuple[Voice, ...]:
        return tuple(voice for voice in self.voices if voice.engine == engine)

    @property
    def cheap(self) -> tuple[Voice, ...]:
        """All but Kokoro's."""
        return tuple(voice for voice in self.voices if voice.engine != "kokoro")


def divide(cast: Cast, language: str, rng: np.random.Generator) -> tuple[Company, Company, str]:
    """Voices to train with and voices to validate with, no speaker in both, and the engine kept for validation.

    A tenth of Kokoro's speakers (of every group of language and sex that has four or more) and one whole engine
    validate. Speakers that another engine imitates train. Raises SpeechError when no voice speaks the language.
    """
    spoken = [voice for voice in cast.voices if voice.engine == "kokoro" or _same(voice.language, language)]
    if not spoken:
        raise SpeechError(
            f"no voice here speaks {language!r}", "edgepress voices list says what is missing, and what to install"
        )
    engines = {voice.engine for voice in spoken}
    kept = next((name for name in _KEPT if name in engines), "") if len(engines) > 1 else ""
    shared = {voice.speaker for voice in spoken if voice.engine not in ("kokoro", kept)}
    groups: dict[str, list[Voice]] = {}
    for voice in spoken:
        if voice.engine == "kokoro" and voice.speaker not in shared:
            groups.setdefault(voice.name[:2] if _same(voice.language, language) else "foreign", []).append(voice)
    held = set()
    for _, group in sorted(groups.items()):
        number = max(1, round(_HELD_OUT * len(group))) if len(group) >= 4 else 0
        held |= {group[int(i)].speaker for i in rng.permutation(len(group))[:number]}
    val = tuple(voice for voice in spoken if voice.engine == kept or voice.speaker in held)
    train = tuple(voice for voice in spoken if voice not in val)
    return Company(train, language), Company(val or train, language), kept


def kokoro(
    company: Company, count: int, rng: np.random.Generator, *, spread: float = 1.0
) -> list[tuple[Voice, Manner]]:
    """`count` voices and manners, every speaker equally often, three of four native, most of them styles of their own.

    `spread` scales how far manners stray from the voice's own; 0 gives plain speakers.
    """
    speakers = company.of("kokoro")
    native = _shuffled([v for v in speakers if _same(v.language, company.language)] or list(speakers), count, rng)
    foreign = _shuffled([v for v in speakers if not _same(v.language, company.language)] or native, count, rng)
    names = [voice.name for voice in speakers]
    drawn = []
    for number in range(count):
        voice = foreign[number] if rng.uniform() < _FOREIGN else native[number]
        other, melody = names[int(rng.integers(len(names)))], names[int(rng.integers(len(names)))]
        amount = float(rng.uniform(0.15, 0.5)) * min(spread, 1.0)
        away = other if spread and other != voice.name and rng.uniform() < 0.5 else ""
        style = styles.derive(
            voice.name, other=away, amount=amount, manner=melody if spread and rng.uniform() < 0.35 else ""
        )
        drawn.append((Voice("kokoro", style, voice.language, True, voice.speaker), manner(rng, spread=spread)))
    return drawn


def cheap(company: Company, count: int, rng: np.random.Generator, *, spread: float = 1.0) -> list[tuple[Voice, Manner]]:
    """`count` voices and manners of all engines but Kokoro; empty where there is none."""
    voices = company.cheap
    if not voices:
        return []
    engines = sorted({voice.engine for voice in voices})
    shares = np.array([_SHARES.get(name, 1.0) for name in engines])
    drawn = []
    for index in rng.choice(len(engines), count, p=shares / shares.sum()):
        own = company.of(engines[int(index)])
        drawn.append((own[int(rng.integers(len(own)))], manner(rng, spread=spread)))
    return drawn


def manner(rng: np.random.Generator, *, spread: float = 1.0) -> Manner:
    """A way of speaking as people differ in it; one in twelve is a child's."""
    child = spread > 0 and rng.uniform() < 1 / 12
    tone = _around(rng, 0.05 * spread, 0.86, 1.16) * (float(rng.uniform(1.1, 1.25)) if child else 1.0)
    return Manner(
        speed=_around(rng, 0.17 * spread, 0.65, 1.5),
        pitch=_around(rng, 0.12 * spread, 0.7, 1.4) * (float(rng.uniform(1.1, 1.4)) if child else 1.0),
        liveliness=_around(rng, 0.3 * spread, 0.35, 2.0),
        sway=float(rng.uniform(0.0, 0.22)) * min(spread, 2.0),
        tone=tone,
        seed=int(rng.integers(1, 1 << 30)),
    )


def _around(rng: np.random.Generator, deviation: float, low: float, high: float) -> float:
    return float(np.clip(np.exp(rng.normal(0.0, deviation)), low, high)) if deviation else 1.0


def _same(one: str, other: str) -> bool:
    return one.split("-")[0] == other.split("-")[0]


def _shuffled(voices: Sequence[Voice], count: int, rng: np.random.Generator) -> list[Voice]:
    """At least `count` voices: everyone once in a random order, then everyone again in another."""
    if not voices:
        raise SpeechError("there is no Kokoro voice in this part", "edgepress voices add kokoro-speakers")
    rounds = -(-count // len(voices))
    return [voices[int(i)] for _ in range(rounds) for i in rng.permutation(len(voices))]
