"""From clips to features: windows cut, their sound changed, and put through the board's own front end.

Work is spread over processes that never load TensorFlow. Every number drawn depends on the seed, the clip and the copy
alone, so the result is the same however many processes there are.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress_runtime.features import features
from edgepress_runtime.manifest import SpeechSpec
from edgepress_train.data import augment_speech
from edgepress_train.data.windows import Span, around, piece, spoken
from edgepress_train.progress import Progress, silent

Through = Callable[[np.ndarray], np.ndarray]  # features (n, frames, features) -> (n, ...), float16

_LEAD_S = 1.0  # for front ends that adapt to what they heard before
_CHUNK = 64  # clips a task
_SPARE = 1.3  # of a window is taken from longer sound, since a faster voice needs more of it


@dataclass(frozen=True)
class Clip:
    """A piece of sound: `samples` (n,) int16 at the front end's rate, and the number of its label.

    `whole`: it is one word, which a window must hold in full; otherwise any part of it is as good as another. `span` is
    where the word lies, if that is known; else it is looked for.
    """

    samples: np.ndarray
    label: int
    whole: bool = True
    span: Span | None = None


@dataclass(frozen=True)
class Scenery:
    """What is done to each copy of a clip: the `line` of `augment_speech`, and folders of sound to draw noise from.

    Small, so that it can be sent to other processes; each of them loads what the line needs from the cache, once.
    """

    line: str
    folders: tuple[Path, ...] = ()
    seed: int = 0


@functools.lru_cache(2)
def staged(scenery: Scenery) -> tuple[augment_speech.Chain, augment_speech.Bank]:
    """The steps of `scenery` and what they draw on. Raises EdgepressError for a step that is unknown."""
    chain = augment_speech.build(scenery.line)
    return chain, augment_speech.load_bank(chain, folders=scenery.folders, seed=scenery.seed)


@dataclass(frozen=True)
class Cut:
    """How windows are cut: `frames` of features each, with the word clear of the `slack` frames at both ends.

    So a shorter window of `frames - slack` holds the whole word wherever it begins.
    """

    spec: SpeechSpec
    frames: int
    slack: int = 0

    @property
    def samples(self) -> int:
        """Samples that give exactly `frames` frames."""
        return self.spec.window + (self.frames - 1) * self.spec.hop

    @property
    def lead(self) -> int:
        """Samples before them that an adapting front end hears first: whole hops."""
        adapts = self.spec.pcen is not None or self.spec.front_end == "micro"
        return round(_LEAD_S * self.spec.rate_hz / self.spec.hop) * self.spec.hop if adapts else 0

    @property
    def room(self) -> int:
        """Samples that a word may fill and still be whole wherever the window lies."""
        return self.samples - 2 * self.slack * self.spec.hop


def extract(
    clips: Sequence[Clip],
    cut: Cut,
    *,
    copies: int = 1,
    scenery: Scenery | None = None,
    seed: int = 0,
    workers: int | None = None,
    through: Through | None = None,
    progress: Progress = silent,
) -> tuple[np.ndarray, np.ndarray]:
    """Features (len(clips) * copies, frames, features) float16 and labels (the same,) int64; copies lie together.

    Without `scenery` windows are not changed and words lie in their middle; with it each copy is cut and changed at
    random. With `through` what it makes of the features is kept in their place.
    """
    workers = workers or (os.cpu_count() or 1)
    if scenery is not None:
        staged(scenery)  # here, so that two processes do not make the same rooms
    starts = range(0, len(clips), _CHUNK)
    tasks = [(clips[start : start + _CHUNK], start, cut, copies, scenery, seed) for start in starts]
    shape = (cut.frames, cut.spec.features)
    if through is not None:
        shape = through(np.zeros((1, *shape), np.float16)).shape[1:]
    found = np.zeros((len(clips) * copies, *shape), np.float16)
    done = 0

    def keep(part: np.ndarray) -> None:
        nonlocal done
        found[done : done + len(part)] = part if through is None else through(part)
        done += len(part)
        progress("features", done, len(found), "")

    if workers == 1 or len(tasks) < 2:
        for task in tasks:
            keep(_extract_some(*task))
    else:
        # Not forked: the parent may hold TensorFlow's threads.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            for part in pool.map(_extract_some, *zip(*tasks, strict=True)):
                keep(part)
    labels = np.repeat(np.array([clip.label for clip in clips], np.int64), copies)
    return found, labels


def _extract_some(
    clips: Sequence[Clip], first: int, cut: Cut, copies: int, scenery: Scenery | None, seed: int
) -> np.ndarray:
    rows = []
    for number, clip in enumerate(clips, first):
        span = clip.span or spoken(clip.samples, cut.spec.rate_hz) if clip.whole else None
        for copy in range(copies):
            rng = np.random.default_rng([seed, number, copy])
            rows.append(window_features(clip, span, cut, scenery=scenery, rng=rng))
    return np.stack(rows).astype(np.float16)


def window_features(
    clip: Clip, span: Span | None, cut: Cut, *, scenery: Scenery | None, rng: np.random.Generator
) -> np.ndarray:
    """Features of one window of `clip`, around `span` if given, changed as `scenery` says: (frames, features) float32.

    The voice is changed before the window is cut, since that moves the word; the room and the noise are heard in the
    whole window.
    """
    length = cut.lead + cut.samples
    if span is None:
        samples, span = _stretch(clip.samples, round(_SPARE * length), rng)
        placed: np.random.Generator | None = rng
    else:
        samples, placed = clip.samples, rng if scenery else None
    if scenery is None:
        start, _ = _place(span, cut, placed)
        return features(piece(samples, start - cut.lead, length), cut.spec)[-cut.frames :]
    chain, bank = staged(scenery)
    voice = chain.voice(augment_speech.Sound.of(samples, span.start, span.stop), rng)
    start, span = _place(Span(voice.begin, voice.end), cut, placed)
    heard = augment_speech.Sound(piece(voice.samples, start - cut.lead, length), span.start, span.stop)
    return features(chain.scene(heard, rng, bank).int16(), cut.spec)[-cut.frames :]


def _stretch(samples: np.ndarray, length: int, rng: np.random.Generator) -> tuple[np.ndarray, Span]:
    """A random stretch of at most `length` samples, all of which counts."""
    start = int(rng.integers(0, max(0, len(samples) - length) + 1))
    part = samples[start : start + length]
    return part, Span(0, len(part))


def _place(span: Span, cut: Cut, rng: np.random.Generator | None) -> tuple[int, Span]:
    """Where a window begins that holds `span`, and where the span then lies in what is cut, the lead included."""
    margin = (cut.samples - cut.room) // 2
    start = around(span, cut.room, rng=rng) - margin
    before = start - cut.lead
    length = cut.lead + cut.samples
    return start, Span(min(length, max(0, span.start - before)), min(length, max(0, span.stop - before)))
