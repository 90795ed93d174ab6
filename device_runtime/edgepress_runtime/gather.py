"""From a few photos or recordings to what is learnt from: their embeddings, as this very board computes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import numpy as np

from edgepress_runtime import audio, image
from edgepress_runtime.audio import AudioError
from edgepress_runtime.bundle import Bundle
from edgepress_runtime.classify import embedder, image_of
from edgepress_runtime.engine import Engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.head import Examples
from edgepress_runtime.image import ImageError
from edgepress_runtime.loudness import loudest
from edgepress_runtime.spot import Spotter

ROWS = 5  # steps of a stream that a recording is learnt from: a word passes through the window for longer than one
AROUND = 10  # steps before the word, and as many behind it, that show what is not the word
_PART = 0.1  # of the word, which may be in the window there

# A file -> (what shows the class, what was around it), (k, d) float32 each, the first with k of at least 1. Raises
# ImageError or AudioError for a file that nothing can be learnt from.
Embed = Callable[[Path], "tuple[np.ndarray, np.ndarray]"]


@dataclass(frozen=True)
class Gathered:
    """`examples` of the files that could be used, `groups` (n,) the number of each one's file among them.

    The label 1 is what shows the class, 0 what was around it. `skipped`: (file, reason) of the other files.
    """

    examples: Examples
    groups: np.ndarray
    files: tuple[Path, ...]
    skipped: tuple[tuple[Path, str], ...]


def gather(engine: Engine, bundle: Bundle, files: Sequence[Path]) -> Gathered:
    """What `bundle`, loaded into `engine` and without an overlay, makes of `files`. A file that says nothing new, since
    another one is its copy, is skipped, too."""
    embed = TASKS[bundle.manifest.task](engine, bundle)
    used: dict[bytes, Path] = {}
    rows, labels, groups, skipped = [], [], [], []
    for file in files:
        try:
            shown, around = embed(file)
        except (ImageError, AudioError) as error:
            skipped.append((file, error.what))
            continue
        first = used.setdefault(shown.tobytes(), file)
        if first is not file:
            skipped.append((file, f"it shows the same as {first.name}"))
            continue
        rows += [shown, around]
        labels += [1] * len(shown) + [0] * len(around)
        groups += [len(used) - 1] * (len(shown) + len(around))
    size = bundle.manifest.teaching.size if bundle.manifest.teaching is not None else 0
    found = np.concatenate([np.empty((0, size), np.float32), *rows])
    examples = Examples(found, np.array(labels, np.int64))
    return Gathered(examples, np.array(groups, np.int64), tuple(used.values()), tuple(skipped))


def _pictures(engine: Engine, bundle: Bundle) -> Embed:
    """A photo and its mirror image, which is a second view for nothing."""
    spec, embed = image_of(bundle.manifest), embedder(engine, bundle.manifest)

    def both(file: Path) -> tuple[np.ndarray, np.ndarray]:
        pixels = image.load_pixels(file, spec)
        views = [embed(pixels), embed(np.ascontiguousarray(pixels[:, ::-1]))]
        return np.concatenate(views), views[0][:0]

    return both


def _recordings(engine: Engine, bundle: Bundle) -> Embed:
    """Steps of a stream in which the window holds the whole of what was said, and those that hold next to none."""
    spotter = Spotter(engine, bundle.manifest)
    step, window = spotter.step_samples, spotter.window_samples
    lead = -(-window // step) * step

    def said(file: Path) -> tuple[np.ndarray, np.ndarray]:
        samples = audio.load(file, spotter.rate_hz)
        begin, end = loudest(samples, spotter.rate_hz, window, file.name)
        spotter.reset()
        rows = spotter.embeddings(np.pad(samples, (lead, 2 * window)))
        # The sample behind the window that each row has seen.
        ends = spotter.window_samples + (np.arange(len(rows)) - spotter.first_row) * step - lead
        whole = np.flatnonzero((ends >= end) & (ends - window <= begin))
        if not len(whole):  # as long as the window: the step that comes closest
            whole = np.array([np.abs(ends - (begin + end + window) / 2).argmin()])
        part = _PART * (end - begin)
        ahead, behind = np.flatnonzero(ends <= begin + part), np.flatnonzero(ends - window >= end - part)
        ahead = ahead[ahead >= spotter.first_row]
        return rows[_spread(whole, ROWS)], rows[np.append(_spread(ahead, AROUND), _spread(behind, AROUND))]

    return said


def _spread(places: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of `places`, evenly."""
    if not len(places):
        return places
    return places[np.unique(np.linspace(0, len(places) - 1, count).round().astype(int))]


def task_of(bundle: Bundle) -> str:
    """The task of a bundle that can be taught. Raises EdgepressError for another one."""
    task = bundle.manifest.task
    if task not in TASKS:
        raise EdgepressError(f"{bundle.manifest.name} is a model for {task}, which cannot be taught on the board")
    return task


TASKS: dict[str, Callable[[Engine, Bundle], Embed]] = {
    "image-classification": _pictures,
    "keyword-spotting": _recordings,
}
