"""A frozen encoder to learn from: an earlier RUN, or a published checkpoint, asked for embeddings only."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec, Preprocessing, SpeechSpec
from edgepress_train import models, run
from edgepress_train.keras2 import keras
from edgepress_train.models import efficientnet_lite
from edgepress_train.models.init import initialise
from edgepress_train.models.parts import encoder
from edgepress_train.progress import Progress, silent
from edgepress_train.teacher_input import heard_as, seen_as

# (inputs (n, *shape), spec=how they were prepared) -> the same as a teacher takes them
See = Callable[..., Any]
# Checkpoints that can be asked for embeddings as they are, and the least size in pixels at which they see anything
CHECKPOINTS = {"efficientnet-lite0": 64}
WIDTH = 128  # numbers of an embedding that are told; the rest of 1,280 says little more
_SAMPLE = 4000  # examples on which mean, deviation and directions are estimated


def open_teacher(source: str, spec: Preprocessing, shape: tuple[int, ...]) -> tuple[keras.Model, See]:
    """The encoder at `source`, and what makes of a student's inputs (n, *shape), prepared as `spec`, its own.

    The normalisation of `spec` does not matter yet. Raises EdgepressError for one that is missing, or that sees or
    hears otherwise than can be made good.
    """
    if source in CHECKPOINTS:
        if not isinstance(spec, ImageSpec):
            raise EdgepressError(f"{source} is no speech model", "give --teacher a RUN of pretrain or train speech")
        size = max(CHECKPOINTS[source], spec.height, spec.width)
        net = models.build(source, (size, size, 3), 2)
        initialise(net, source)
        mean, std = efficientnet_lite.MEAN, efficientnet_lite.STD
        return encoder(net), partial(seen_as, wanted=ImageSpec(size, size, 3, (mean,) * 3, (std,) * 3))
    if not Path(source).is_dir():
        raise EdgepressError(
            f"--teacher {source!r} is neither a RUN folder nor a known checkpoint",
            f"known checkpoints: {', '.join(sorted(CHECKPOINTS))}",
        )
    trained = run.load(source)
    model = run.load_model(trained)
    net = model if trained.task in run.PRETRAINING else encoder(model)
    theirs = trained.preprocessing
    if type(theirs) is not type(spec):
        raise EdgepressError(f"the teacher {source} neither sees nor hears what the student does")
    if isinstance(theirs, ImageSpec) and isinstance(spec, ImageSpec):
        return net, partial(seen_as, wanted=theirs)
    assert isinstance(theirs, SpeechSpec) and isinstance(spec, SpeechSpec)
    own = dataclasses.replace(spec, mean=theirs.mean, std=theirs.std)
    frames = net.input_shape[1]
    if own != theirs or frames > shape[0]:
        raise EdgepressError(
            f"the teacher {source} hears with another front end, or longer than the student",
            "give the student the same front end, and --window-s at least as long",
        )
    return net, partial(heard_as, wanted=theirs, frames=frames)


def lessons(
    teacher: tuple[keras.Model, See], examples: Iterable[np.ndarray], spec: Preprocessing, total: int, *,
    progress: Progress = silent,
) -> np.ndarray:  # fmt: skip
    """What `teacher` says to `examples`, batches of (n, *input) prepared as `spec`, `total` in all: (total, width).

    Each number gets mean 0 and deviation 1, then the directions in which they vary most are kept, at most WIDTH, and
    scaled by one factor to a mean square of 1; float16. Asked once and of examples that nothing was done to, since a
    teacher costs more than its student, whom many epochs of other views await.
    """
    net, see = teacher
    parts, done = [], 0
    for batch in examples:
        parts.append(net(see(tf.constant(batch), spec=spec), training=False).numpy().astype(np.float16))
        done += len(batch)
        progress("teacher", done, total, "")
    said = np.concatenate(parts)
    mean, std, directions = _main_directions(said[:: max(1, len(said) // _SAMPLE)].astype(np.float64))
    told = np.concatenate(
        [((part - mean) / std) @ directions for part in np.array_split(said, max(1, len(said) // 4096))]
    )
    return (told / np.sqrt(np.mean(told**2))).astype(np.float16)


def _main_directions(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and deviation of (n, width) and its WIDTH main directions (width, at most WIDTH), once it is standardised.

    Numbers that do not vary count for nothing.
    """
    mean, std = sample.mean(axis=0), sample.std(axis=0)
    std = np.where(std > 1e-4 * max(float(std.max()), 1e-9), std, np.inf)
    _, sizes, directions = np.linalg.svd((sample - mean) / std, full_matrices=False)
    kept = min(WIDTH, int((sizes > 1e-6 * sizes[0]).sum()))
    return mean, std, directions[:kept].T
