"""A text in, labels and their scores out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgepress_runtime.classify import Score
from edgepress_runtime.engine import Engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import Manifest, TextSpec
from edgepress_runtime.text import TextError

if TYPE_CHECKING:
    from edgepress_runtime.bundle import Bundle

THREADS = 1  # a text's few hundred thousand multiply-adds are done before a second thread has woken up


class TextClassifier:
    """Classifies with `engine` as `bundle` says; refuses, with EdgepressError, a bundle of another model."""

    def __init__(self, engine: Engine, bundle: Bundle) -> None:
        manifest = bundle.manifest
        spec = text_of(manifest)
        engine.expect(manifest.inputs, manifest.outputs)
        _fit(engine, spec, manifest.labels)
        target = engine.outputs[0]
        self.labels = manifest.labels
        self.tokenizer = bundle.tokenizer()
        self._engine = engine
        self._scale, self._zero = target.scale or 1.0, target.zero_point or 0

    def scores(self, text: str) -> np.ndarray:
        """The model's output for every label: (labels,) float32. Raises TextError for a text of nothing but space."""
        ids = self.tokenizer.encode(text)
        if not ids[0]:
            raise TextError("the text is empty")
        return self.scores_of(ids)

    def scores_of(self, ids: np.ndarray) -> np.ndarray:
        """The same for ids, (length,) int32, as the tokenizer gives them."""
        self._engine.input_view()[0] = ids
        self._engine.invoke()
        real = (self._engine.output_view()[0].astype(np.float64) - self._zero) * self._scale
        if not np.isfinite(real).all():
            raise EdgepressError(
                "the model answered with something that is no number (NaN or infinite)", "train or convert it again"
            )
        return real.astype(np.float32)

    def top(self, text: str, k: int = 5) -> tuple[Score, ...]:
        """The best `k` labels (fewer if there are fewer), best first; equal scores in the order of the labels."""
        scores = self.scores(text)
        order = np.argsort(-scores, kind="stable")[:k]
        return tuple(Score(self.labels[i], float(scores[i]), int(i)) for i in order)


def text_of(manifest: Manifest) -> TextSpec:
    """How a text classifier's manifest prepares text. Raises EdgepressError for a model of another task."""
    spec = manifest.preprocessing
    if manifest.task != "text-classification" or not isinstance(spec, TextSpec):
        raise EdgepressError(f"{manifest.name} is a model for {manifest.task}, not for text-classification")
    return spec


def _fit(engine: Engine, spec: TextSpec, labels: tuple[str, ...]) -> None:
    if len(engine.inputs) != 1 or len(engine.outputs) != 1:
        raise EdgepressError("a text classifier has one input and one output tensor")
    source = engine.inputs[0]
    if (source.shape, source.dtype) != ((1, spec.length), "int32"):
        raise EdgepressError(
            f"the manifest prepares texts as int32 [1, {spec.length}], the model takes {source.dtype} "
            f"{list(source.shape)}"
        )
    if engine.outputs[0].shape != (1, len(labels)):
        raise EdgepressError(
            f"the model gives {list(engine.outputs[0].shape)}, but the manifest has {len(labels)} labels"
        )
