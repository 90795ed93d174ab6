"""What a spotter is trained on when there are nothing but words: speech that was never recorded.

The words by many voices, and against them what sounds like them, pieces of them, other words and sentences; and noises.
Some voices, and one engine, are kept for validation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from edgepress_runtime.resample import resample
from edgepress_train.data import broken_words, noise, speech_material
from edgepress_train.data import words as sayings
from edgepress_train.data.dataset import DataError, Split
from edgepress_train.data.recordings import UNKNOWN
from edgepress_train.data.speech_examples import Clip
from edgepress_train.data.speech_material import Material
from edgepress_train.data.tts import casting, engines, plan, synthesize, talk
from edgepress_train.data.tts import clips as spoken_clips
from edgepress_train.data.tts.trim import RATE_HZ
from edgepress_train.data.tts.utterance import Utterance
from edgepress_train.data.windows import Span
from edgepress_train.progress import Progress, silent

_NOISES, _NOISE_S = 400, 3.0
_VAL_POSITIVES = 300  # clips a word that the RUN keeps, for choosing thresholds
_PAUSE_S = (0.2, 0.8)  # between two sayings of the validation stream
_FILE_S = 60.0  # of one file of it
_LANGUAGE = "en-us"
_TALK, _TALK_CLIPS = "talk", 800
# What is heard all day; sound-alikes are rarer in life than in a plan, so no rate of false alarms can rest on them
_EVERYDAY = (_TALK, "sentence", "other")


def keywords(text: str) -> tuple[str, ...]:
    """The words in `text`, with commas between, as labels. Raises DataError when there are none, or one twice."""
    found = [sayings.normalize(part) for part in text.split(",") if part.strip()]
    if not found:
        raise DataError("--words names no word", 'as --words "computer, lights on"')
    twice = next((word for word in found if found.count(word) > 1), None)
    if twice is not None:
        raise DataError(f"--words names {twice!r} twice", "leave one out")
    if UNKNOWN in found:
        raise DataError(f"{UNKNOWN!r} cannot be a keyword: it stands for everything else", "choose another word")
    return tuple(found)


def from_words(
    words: Sequence[str],
    *,
    rate_hz: int,
    clips: int,
    voices: str = "",
    background: Sequence[str] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> Material:
    """Synthesize about `clips` of each word, and negatives in proportion; whatever is in the cache is not made again.

    `voices` names engines, with commas between (all that are here when empty). Files below the folders `background` are
    further negatives. Raises EdgepressError when nothing here can speak.
    """
    names = tuple(part.strip() for part in voices.split(",") if part.strip()) or tuple(engines.ENGINES)
    cast = engines.find(names)
    if not cast.voices:
        raise DataError(
            "no speech engine is installed" + "".join(f"; {item.engine}: {item.reason}" for item in cast.missing),
            "pip install 'edgepress[speech]', then edgepress voices list",
        )
    size = plan.Size().scaled(clips / plan.Size().word)
    written = plan.make(words, cast, size=size, seed=seed)
    talk_of_others = _talk(words, cast, seed)
    spoken = synthesize.synthesize((*written.utterances, *talk_of_others), progress=progress)
    labels = (*words, UNKNOWN)

    def heard(part: str) -> list[Clip]:
        # What is a sound or two away is what some people say who mean the word.
        return [
            _clip(clip, labels, rate_hz) for clip in spoken.of(split=part) if clip.utterance.kind not in ("miss", _TALK)
        ]

    train, val = heard("train"), heard("val")
    whole = [clip for clip in train if clip.label != labels.index(UNKNOWN)]
    train += broken_words.broken(whole, labels.index(UNKNOWN), rate_hz=rate_hz, seed=seed)
    others = [clip for clip in spoken.of(split="train", label="") if clip.utterance.kind != "miss"]
    for running in _stream(others, rate_hz, seed):  # cut anywhere, so that words end and begin in a window as in life
        train += speech_material.as_clips(running, labels.index(UNKNOWN), keyword=False, rate_hz=rate_hz)
    for made, count, draw in ((train, _NOISES, seed), (val, _NOISES // 8, seed + 1)):
        made += _noises(count, rate_hz, labels.index(UNKNOWN), seed=draw)
    given = speech_material.find_sounds(background)
    if given:
        split = Split(given, np.full(len(given), labels.index(UNKNOWN), np.int64))
        pieces, skipped = speech_material.decode(split, labels, rate_hz, progress, "decode background")
        train += [clip for number, clip in enumerate(pieces) if number % 6]
        val += pieces[::6]
    else:
        skipped = ()
    unheard = spoken.of(split="val")
    fingerprint = hashlib.sha256("\n".join(sorted(clip.path.stem for clip in spoken.clips)).encode()).hexdigest()
    return Material(
        labels=labels,
        train=tuple(train),
        val=tuple(val),
        data={
            "name": ", ".join(words),
            "source": "synthetic speech",
            "fingerprint": fingerprint,
            "counts": {"train": len(train), "val": len(val), "dropped": len(spoken.dropped)},
            "engines": sorted({clip.utterance.voice.engine for clip in spoken.clips}),
            "speakers": len({(clip.utterance.voice.engine, clip.utterance.voice.speaker) for clip in spoken.clips}),
            "kept_engine": written.kept_engine,
            "notes": list(written.notes),
            "background": list(background),
        },
        skipped=skipped,
        positives={
            word: tuple(_at_rate(clip.samples(), rate_hz) for clip in unheard if clip.label == word)[:_VAL_POSITIVES]
            for word in words
        },
        negatives=_stream([clip for clip in unheard if clip.utterance.kind in _EVERYDAY], rate_hz, seed),
    )


def _talk(words: Sequence[str], cast: engines.Cast, seed: int) -> list[Utterance]:
    """Sentences by voices that only validate, for choosing thresholds: more than half an hour, if they are cheap."""
    _, val, _ = casting.divide(cast, _LANGUAGE, np.random.default_rng((seed, 1)))  # as the plan divides them
    rng = np.random.default_rng([seed, 13])
    drawn = casting.cheap(val, _TALK_CLIPS, rng) or casting.kokoro(val, _TALK_CLIPS // 20, rng)
    texts = talk.sentences(len(drawn), rng, avoid=words)
    return [
        Utterance(text, voice, manner, kind=_TALK, split="val")
        for text, (voice, manner) in zip(texts, drawn, strict=False)
    ]


def _at_rate(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    return resample(samples, RATE_HZ, rate_hz)


def _clip(clip: spoken_clips.Clip, labels: tuple[str, ...], rate_hz: int) -> Clip:
    """Sentences may be cut anywhere; everything else is short and must be heard in full."""
    samples = _at_rate(clip.samples(), rate_hz)
    span = Span(clip.begin * rate_hz // RATE_HZ, clip.end * rate_hz // RATE_HZ)
    if clip.label:
        return Clip(samples, labels.index(clip.label), span=span)
    return Clip(samples, labels.index(UNKNOWN), whole=clip.utterance.kind != "sentence", span=span)


def _noises(count: int, rate_hz: int, label: int, *, seed: int) -> list[Clip]:
    """Rooms in which nobody speaks, of all levels."""
    rng = np.random.default_rng([seed, 7])
    kinds = noise.backgrounds(seed=seed)
    made = []
    for _ in range(count):
        samples = kinds.draw(round(_NOISE_S * noise.RATE_HZ), rng) * 10 ** rng.uniform(0, 3.5)
        whole = np.clip(samples, -32768, 32767).astype(np.int16)
        made.append(Clip(resample(whole, noise.RATE_HZ, rate_hz), label, whole=False))
    return made


def _stream(clips: Sequence[spoken_clips.Clip], rate_hz: int, seed: int) -> tuple[np.ndarray, ...]:
    """Negatives as somebody who talks and talks: files of a minute, with pauses and a noise floor."""
    rng = np.random.default_rng([seed, 11])
    files: list[np.ndarray] = []
    parts: list[np.ndarray] = []
    length = 0
    for index in rng.permutation(len(clips)):
        samples = _at_rate(clips[int(index)].samples(), rate_hz)
        pause = rng.normal(0, 10 ** rng.uniform(0, 1.5), round(rng.uniform(*_PAUSE_S) * rate_hz)).astype(np.int16)
        parts += [samples, pause]
        length += len(samples) + len(pause)
        if length >= _FILE_S * rate_hz:
            files.append(np.concatenate(parts))
            parts, length = [], 0
    return (*files, np.concatenate(parts)) if parts else tuple(files)
