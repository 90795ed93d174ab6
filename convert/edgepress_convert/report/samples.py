"""Held-out pictures with a model's answers, small enough to live inside the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress_convert import quantize
from edgepress_convert.evaluate import held_out, label_map
from edgepress_runtime.bundle import Bundle
from edgepress_runtime.classify import Classifier
from edgepress_runtime.engine import open_engine
from edgepress_runtime.image import decode
from edgepress_runtime.manifest import ImageSpec
from edgepress_train.data.dataset import Split
from edgepress_train.data.pixels import load_split
from edgepress_train.progress import Progress, silent

MAX_JUDGED = 2000  # pictures that are looked at to find some worth showing
_SIDE = 176  # pixels of a thumbnail's longer side: sharp at 88 CSS pixels on a phone's screen


@dataclass(frozen=True)
class Sample:
    """One picture with the answer it got. `image` is a `data:` URI; `score` belongs to `answer`, 0 to 1."""

    image: str
    file: str
    truth: str
    answer: str
    score: float

    @property
    def right(self) -> bool:
        return self.truth == self.answer


def pick(
    bundle: Bundle, data: str, *, count: int = 8, seed: int = 0, progress: Progress = silent
) -> tuple[Sample, ...]:
    """Up to `count` right and `count` wrong answers of `bundle` on the held-out part of `data`.

    The right ones are drawn evenly over the classes by `seed`; the wrong ones are those it was surest of. At most
    MAX_JUDGED pictures are judged. Raises EdgepressError when the data cannot be opened.
    """
    labels, spec = bundle.manifest.labels, bundle.manifest.preprocessing
    assert isinstance(spec, ImageSpec)
    dataset, split, _ = held_out(bundle, data)
    if len(split) > MAX_JUDGED:
        split = split.take(quantize.stratified(split.labels, MAX_JUDGED, seed=seed))
    pixels, kept, _ = load_split(split, spec, progress=progress)
    truth = label_map(dataset.labels, labels, data)[kept.labels]
    answers, scores = np.zeros(len(kept), np.int64), np.zeros(len(kept))
    with open_engine(bundle.model_source) as engine:
        classifier = Classifier(engine, bundle.manifest)
        for index, picture in enumerate(pixels):
            best = classifier.classify(picture)
            answers[index], scores[index] = best.index, best.score
            progress("pictures", index + 1, len(pixels), "")
    right = np.flatnonzero(answers == truth)
    shown_right = right[quantize.stratified(truth[right], count, seed=seed)]
    wrong = np.flatnonzero(answers != truth)
    shown_wrong = wrong[np.argsort(-scores[wrong], kind="stable")[:count]]
    return tuple(
        _sample(kept, index, labels, truth, answers, scores, spec.channels) for index in (*shown_right, *shown_wrong)
    )


def _sample(
    split: Split,
    index: int,
    labels: Sequence[str],
    truth: np.ndarray,
    answers: np.ndarray,
    scores: np.ndarray,
    channels: int,
) -> Sample:
    path = split.paths[index]
    return Sample(
        thumbnail(path, channels), path.name, labels[truth[index]], labels[answers[index]], float(scores[index])
    )


def thumbnail(path: Path, channels: int) -> str:
    """The picture at `path`, at most 176 pixels wide and high, as a `data:` URI. Raises ImageError."""
    image = decode(path, channels)
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
