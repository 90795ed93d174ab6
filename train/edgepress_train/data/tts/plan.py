"""What is to be said so that a net learns a word: how many clips of what, by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress_train.data import words as sayings
from edgepress_train.data.tts import accents, casting, phonemes, talk
from edgepress_train.data.tts.casting import Company
from edgepress_train.data.tts.engines import Cast
from edgepress_train.data.tts.utterance import Utterance
from edgepress_train.data.tts.voice import EngineMissing, Manner, SpeechError, Voice

# What comes after a word said alone: the full stop twice, since most people just say it
_ALONE = (".", ".", "!", "?", ",", "...", "")
_GREETINGS = ("Hey,", "Hey", "OK,", "Okay", "Hello,", "Hi,", "So,", "Oh,", "Yes,", "No,", "Please,", "Um,", "Alright,")
_LEADS = (
    "I said",
    "Let's ask the",
    "Come on,",
    "Are you there,",
    "Good morning,",
    "Wake up,",
    "Listen,",
    "Thank you,",
    "What did you say,",
    "Where are you,",
    "It's called",
    "Just a moment.",
)
_REQUESTS = (
    ", turn on the light.",
    ", what time is it?",
    ", play some music.",
    ", stop.",
    ", good night.",
    " turn it off.",
    " what's the weather today?",
    ", set a timer for ten minutes.",
    " open the door.",
    ", how are you?",
    " please help me.",
    ", call my brother.",
    " and then we'll see.",
    ", never mind.",
    " volume up.",
    ", are you listening?",
)


@dataclass(frozen=True)
class Size:
    """How many clips: of each word by Kokoro and by the cheaper engines, and of what is not the word.

    Sound-alikes, mutated sounds and pieces are counted for each word, other words and sentences for all together.
    `val` is how many validate, as a share of what trains. A Kokoro clip of one word costs about 0.8 CPU seconds.

    There are no mutated sounds unless they are asked for: what is a sound or two away from a word is what some people
    say who mean it.
    """

    word: int = 900
    word_cheap: int = 250
    alike: int = 500
    miss: int = 0
    piece: int = 100
    other: int = 700
    sentence: int = 600
    val: float = 0.15

    def scaled(self, factor: float) -> Size:
        """All of them times `factor`, but for those that are 0 at least one."""
        fields = ("word", "word_cheap", "alike", "miss", "piece", "other", "sentence")
        sizes = {name: getattr(self, name) for name in fields}
        return Size(**{name: max(1, round(factor * size)) if size else 0 for name, size in sizes.items()}, val=self.val)


@dataclass(frozen=True)
class Plan:
    """What is to be said, the engine whose voices only validate ("" for none), and what had to be left out."""

    utterances: tuple[Utterance, ...]
    kept_engine: str
    notes: tuple[str, ...]


def make(words: Sequence[str], cast: Cast, *, size: Size = Size(), language: str = "en-us", seed: int = 0) -> Plan:
    """The plan for `words`. The same words, voices, size and seed give the same plan.

    Raises SpeechError for a word without sounds, or when nothing here speaks the language.
    """
    wanted = tuple(dict.fromkeys(sayings.normalize(word) for word in words))
    if not wanted:
        raise SpeechError("no word was named", 'as --words "computer, lights on"')
    sounds = tuple(phonemes.kokoro(word, language) for word in wanted)
    train, val, kept = casting.divide(cast, language, np.random.default_rng((seed, 1)))
    notes = [f"{missing.engine}: {missing.reason} ({missing.remedy})" for missing in cast.missing]
    made: list[Utterance] = []
    for split, company, share in (("train", train, 1.0), ("val", val, size.val)):
        part = size.scaled(share)
        writer = _Writer(wanted, sounds, company, part, split, language, seed)
        made += writer.everything()
        notes += [note for note in writer.notes if note not in notes]
    return Plan(tuple(made), kept, tuple(notes))


class _Writer:
    """Writes the utterances of one split.

    Every section has random numbers of its own, so that another word, or another size of one section, leaves the clips
    of the others as they are in the cache.
    """

    def __init__(
        self,
        words: tuple[str, ...],
        sounds: tuple[str, ...],
        company: Company,
        size: Size,
        split: str,
        language: str,
        seed: int,
    ) -> None:
        self._words, self._sounds, self._company, self._size = words, sounds, company, size
        self._split, self._language, self._seed = split, language, seed
        self._english = language.startswith("en")
        self.notes: list[str] = []

    def everything(self) -> list[Utterance]:
        made = []
        for number, (word, sounds) in enumerate(zip(self._words, self._sounds, strict=True)):
            made += self._positives(word, self._rng(number))
            rng = self._rng(1000 + number)
            made += self._sounded("miss", sayings.near_misses(sounds, self._size.miss // 3, rng), self._size.miss, rng)
            made += self._sounded("piece", sayings.pieces(sounds), self._size.piece, self._rng(2000 + number))
        if self._english:
            try:
                made += self._texts()
            except EngineMissing as error:
                self.notes.append(f"no real words and sentences as negatives: {error}")
        else:
            self.notes.append(f"no sentences and sound-alike words are known for {self._language!r}: bring recordings")
        return made

    def _rng(self, section: int) -> np.random.Generator:
        return np.random.default_rng((self._seed, 2, self._split == "val", section))

    def _texts(self) -> list[Utterance]:
        """Negatives that are real words: half of the sound-alikes and a third of the rest by Kokoro."""
        size, others, talks = self._size, self._rng(4000), self._rng(5000)
        alikes = sayings.sound_alikes(self._words, max(8, size.alike // 6), sounds=self._sounds)
        made = self._said("alike", [a.text for a in alikes], size.alike * len(self._words), 0.5, self._rng(3000))
        made += self._said(
            "other", sayings.random_words(size.other, others, avoid=self._words), size.other, 0.35, others
        )
        pool = talk.sentences(size.sentence, talks, avoid=self._words)
        return made + self._said("sentence", pool, size.sentence, 0.35, self._rng(6000))

    def _positives(self, word: str, rng: np.random.Generator) -> list[Utterance]:
        made = []
        for voice, manner in self._kokoro(self._size.word, rng):
            before, after = self._context(rng)
            made.append(
                Utterance(
                    word,
                    voice,
                    manner,
                    phonemes=self._pronounced(word, voice, rng),
                    before=before,
                    after=after,
                    label=word,
                    split=self._split,
                )
            )
        cheap = self._size.word_cheap + (0 if made else self._size.word)
        for voice, manner in casting.cheap(self._company, cheap, rng):
            after = _pick(_ALONE, rng)
            before = _pick(_GREETINGS, rng) if self._english and rng.uniform() < 0.2 else ""
            made.append(Utterance(word, voice, manner, before=before, after=after, label=word, split=self._split))
        return made

    def _pronounced(self, word: str, voice: Voice, rng: np.random.Generator) -> str:
        """The sounds of `word` as the speaker's country says them, one in four with a foreign or careless accent."""
        if not self._english:
            return phonemes.kokoro(word, self._language)
        british = rng.uniform() < (0.85 if voice.language == "en-gb" else 0.15)
        sounds = phonemes.kokoro(word, "en-gb" if british else "en-us")
        if rng.uniform() < 0.28:
            sounds = accents.speak(sounds, _pick(tuple(accents.ACCENTS), rng), rng)
        return sounds

    def _context(self, rng: np.random.Generator) -> tuple[str, str]:
        """What stands before and after the word: nothing for six of ten."""
        kind = rng.uniform()
        if not self._english or kind < 0.6:
            return "", _pick(_ALONE, rng)
        if kind < 0.72:
            return _pick(_GREETINGS, rng), _pick(_ALONE, rng)
        if kind < 0.8:
            return _pick(_LEADS, rng), _pick(_ALONE, rng)
        if kind < 0.93:
            return "", _pick(_REQUESTS, rng)
        return _pick(_GREETINGS + _LEADS, rng), _pick(_REQUESTS, rng)

    def _sounded(self, kind: str, pool: Sequence[str], count: int, rng: np.random.Generator) -> list[Utterance]:
        """Negatives that only an engine with phonemes can say."""
        if not pool:
            return []
        return [
            Utterance(
                pool[number % len(pool)],
                voice,
                manner,
                phonemes=pool[number % len(pool)],
                after=_pick(_ALONE, rng),
                kind=kind,
                split=self._split,
            )
            for number, (voice, manner) in enumerate(self._kokoro(count, rng))
        ]

    def _said(
        self, kind: str, pool: Sequence[str], count: int, natural: float, rng: np.random.Generator
    ) -> list[Utterance]:
        """Negatives that are texts, `natural` of them by Kokoro."""
        if not pool:
            return []
        by_kokoro = round(natural * count) if self._company.cheap else count
        by_kokoro = by_kokoro if self._company.of("kokoro") else 0
        drawn = [*self._kokoro(by_kokoro, rng), *casting.cheap(self._company, count - by_kokoro, rng)]
        made = []
        for number, index in enumerate(rng.permutation(len(drawn))):
            text, (voice, manner) = pool[number % len(pool)], drawn[int(index)]
            after = "" if kind == "sentence" else _pick(_ALONE, rng)
            made.append(Utterance(text, voice, manner, after=after, kind=kind, split=self._split))
        return made

    def _kokoro(self, count: int, rng: np.random.Generator) -> list[tuple[Voice, Manner]]:
        return casting.kokoro(self._company, count, rng) if self._company.of("kokoro") else []


def _pick(pool: Sequence[str], rng: np.random.Generator) -> str:
    return pool[int(rng.integers(len(pool)))]
