"""Small jobs for passes that train: examples in arrays, drawn at random, nothing augmented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tests.convert.conftest import convert_here

from edgepress_convert.compress.job import Job
from edgepress_convert.plan import Plan
from edgepress_runtime.manifest import ImageSpec
from edgepress_train.lessons import Lessons


def job(folder: Path, inputs: np.ndarray, labels: np.ndarray, **changes: Any) -> Job:
    """A job on `inputs` (n, ...) float32, whose first 48 are the representative ones; batches of 16."""
    classes = int(labels.max()) + 1
    targets = np.eye(classes, dtype=np.float32)[labels]

    def train(*, batch: int, seed: int, start: int, stop: int) -> tf.data.Dataset:
        rows = [np.random.default_rng((seed, n)).integers(0, len(inputs), batch) for n in range(start, stop)]
        index = np.concatenate(rows) if rows else np.zeros(0, np.int64)
        ones = np.ones(len(index), np.float32)
        return tf.data.Dataset.from_tensor_slices((inputs[index], targets[index], ones)).batch(batch)

    names = tuple(f"class-{n}" for n in range(classes))
    lessons = Lessons(names, ImageSpec(8, 8, 3, (0.0,) * 3, (1.0,) * 3), len(inputs), train, None, labels)
    settings = {"representative": inputs[:48], "original": None, "scratch": folder, "batch": 16, "lr": 3e-3}
    return Job(lessons, **{**settings, **changes})


def noted(folder: Path, inputs: np.ndarray, labels: np.ndarray, **changes: Any) -> tuple[Job, list[str]]:
    """`job`, and the list that its notes go to."""
    notes: list[str] = []
    note: Callable[[str], None] = notes.append
    return job(folder, inputs, labels, note=note, **changes), notes


def stripes(n: int, shape: tuple[int, ...], seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a wave whose pitch along the first axis is the class: (n, *shape) float32, and (n,) labels in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    time = np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    phase = rng.uniform(0, 2 * np.pi, (n, *[1] * len(shape)))
    pitch = (0.5 + labels * 0.9).reshape(-1, *[1] * len(shape))
    waves = np.sin(time[None] * pitch + phase) + rng.normal(0, 0.6, (n, *shape))
    return waves.astype(np.float32), labels


def converted(model: Any, representative: np.ndarray, plan: Plan | None = None) -> bytes:
    """The .tflite that `plan` (plain int8) makes of `model`."""
    plan = plan or Plan()
    return convert_here(model, [plan.scheme], representative=representative, weights=plan.weights)[plan.scheme]
