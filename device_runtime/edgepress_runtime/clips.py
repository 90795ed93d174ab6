"""Judging one clip as a whole, with the code that hears streams: which label is it?

A clip that is not longer than the model's window is judged once, centred in it with silence around. A longer one is
judged as a stream would be: where the averaged scores of a keyword reach its threshold, at the step that exceeds it by
most; where none does, by the mean of the background's scores. Without background labels there is no such verdict, and
the step with the highest score counts.
"""

from __future__ import annotations

from typing import Callable

import numpy as np

from edgepress_runtime import features
from edgepress_runtime.detect import smooth
from edgepress_runtime.engine import Engine
from edgepress_runtime.manifest import Manifest
from edgepress_runtime.spot import Spotter, speech_of
from edgepress_runtime.tensors import reading, storing

BACKGROUND = ("unknown", "silence", "_background_")
STRIDE_MS = 100  # between two windows of a long clip, for a model that takes its whole window at once

Judge = Callable[[np.ndarray], np.ndarray]


def clip_judge(engine: Engine, manifest: Manifest) -> Judge:
    """A function: the samples of a clip, (n,) int16 at the model's rate -> its scores, (labels,) float32.

    For streaming models and for those that take a whole window. Raises EdgepressError for a manifest that does not fit.
    """
    if len(engine.inputs) > 1:
        spotter = Spotter(engine, manifest)
        return lambda samples: clip_scores(spotter, manifest, samples)
    spec, detection = speech_of(engine, manifest)
    window = (detection.window_frames - 1) * spec.hop + spec.window

    def judge(samples: np.ndarray) -> np.ndarray:
        frames = features.features(centred(samples, window), spec)
        stride = max(1, round(STRIDE_MS * spec.rate_hz / 1e3 / spec.hop))
        rows = window_scores(engine, manifest, frames, stride=stride)
        return decided(rows, manifest, stride * spec.hop * 1e3 / spec.rate_hz)

    return judge


def clip_scores(spotter: Spotter, manifest: Manifest, samples: np.ndarray) -> np.ndarray:
    """The scores of one clip, (n,) int16 at the model's rate: (labels,) float32. `spotter` begins anew."""
    spotter.reset()
    # Silence for the frames by which the first step with a whole window exceeds it.
    ahead = (spotter.first_row + 1) * spotter.step_samples - spotter.window_frames * spotter.hop
    whole = centred(samples, spotter.window_samples)
    rows = spotter.scores(np.concatenate((np.zeros(ahead, np.int16), whole)))
    return decided(rows[spotter.first_row :], manifest, spotter.step_ms)


def window_scores(engine: Engine, manifest: Manifest, frames: np.ndarray, *, stride: int = 1) -> np.ndarray:
    """A model that takes its whole window at once, on every `stride`th window of (frames, features) float32.

    (windows, labels) float32; frames that fill no window give none.
    """
    source = engine.inputs[0]
    stored = storing(source)(frames)
    length = source.shape[1]
    rows = [
        engine.run(stored[begin : begin + length].reshape(source.shape))[0][0]
        for begin in range(0, len(stored) - length + 1, stride)
    ]
    if not rows:
        return np.empty((0, len(manifest.labels)), np.float32)
    return reading(engine.outputs[0])(np.stack(rows))


def centred(samples: np.ndarray, length: int) -> np.ndarray:
    """`samples` in the middle of `length`, with silence around; as they are if they are as long or longer."""
    missing = length - len(samples)
    if missing <= 0:
        return samples
    return np.pad(samples, (missing // 2, missing - missing // 2))


def decided(rows: np.ndarray, manifest: Manifest, step_ms: float) -> np.ndarray:
    """The verdict on a clip with the scores `rows` (steps, labels), a step every `step_ms`: (labels,) float32."""
    background = [i for i, label in enumerate(manifest.labels) if label in BACKGROUND]
    thresholds = np.array([manifest.thresholds.get(label, np.inf) for label in manifest.labels])
    if len(rows) == 1:
        return rows[0]
    if not background or manifest.detection is None:
        return rows[rows.max(axis=1).argmax()]
    averages = smooth(rows, manifest.detection, step_ms)
    margins = averages - thresholds
    if margins.max() >= 0:
        step, label = np.unravel_index(margins.argmax(), margins.shape)
        verdict = averages[step].copy()
        # It fired, so it is the answer, whatever else scored well in that step.
        verdict[verdict >= verdict[label]] = np.nextafter(verdict[label], np.float32(0))
        verdict[label] = averages[step, label]
        return verdict
    verdict = np.zeros_like(rows[0])
    verdict[background] = rows[:, background].mean(axis=0)
    return verdict
