"""Bundles that teach: the runtime answers, in the very way in which it does on a board."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_runtime.bundle import Bundle
from edgepress_runtime.classify import Classifier
from edgepress_runtime.engine import open_engine
from edgepress_runtime.manifest import ImageSpec
from edgepress_runtime.spot import THREADS, Spotter

Scores = Callable[[np.ndarray], np.ndarray]


def asking(bundle: Bundle) -> Callable[[Any], Any]:
    """A function that answers a batch in a TensorFlow graph, one example after the other: (n, labels) float32.

    It takes pictures (n, height, width, channels) of pixels from 0 to 255, which are rounded as a camera gives them, or
    features (n, frames, features, 1) of exactly one window. A stream is run over each window, which takes about six
    times as long as the net that it was made of: where that is at hand, let the RUN teach.
    Raises EdgepressError for a bundle whose model does not fit its manifest.
    """
    manifest = bundle.manifest
    pictures = isinstance(manifest.preprocessing, ImageSpec)
    engine = open_engine(bundle.model_source, threads=None if pictures else THREADS)
    scores = _watching(Classifier(engine, manifest)) if pictures else _hearing(Spotter(engine, manifest))
    logits = _gives_logits(bundle)

    def ask(inputs: Any) -> Any:
        answers = tf.numpy_function(scores, [inputs], tf.float32)
        answers.set_shape([inputs.shape[0], len(manifest.labels)])
        return tf.nn.softmax(answers) if logits else answers

    return ask


def _watching(classifier: Classifier) -> Scores:
    def scores(pictures: np.ndarray) -> np.ndarray:
        pixels = np.clip(np.rint(pictures), 0, 255).astype(np.uint8)
        return np.stack([classifier.scores(one) for one in pixels])

    return scores


def _hearing(spotter: Spotter) -> Scores:
    step = spotter.step_samples // spotter.hop

    def scores(windows: np.ndarray) -> np.ndarray:
        # Frames before the window, so that its last one completes a step; they have left the net by then.
        windows = np.pad(windows[..., 0], ((0, 0), (-windows.shape[1] % step, 0), (0, 0)))
        rows = []
        for frames in windows:
            spotter.reset()
            rows.append(spotter.scores_of(frames)[-1])
        return np.stack(rows)

    return scores


def _gives_logits(bundle: Bundle) -> bool:
    """Whether the scores of the golden cases are no probabilities, as those of some foreign models."""
    target = bundle.manifest.outputs[0]
    stored = bundle.golden().outputs.astype(np.float64)
    real = (stored - (target.zero_point or 0)) * (target.scale or 1.0)
    return bool(real.min() < 0 or real.max() > 1.01)
