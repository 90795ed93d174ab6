"""The pass `qat`: train on with int8 simulated, so that the weights learn to live with it (TF-MOT's QAT).

Zeros, N:M patterns and clusters that the weights have are kept, which makes it what TF-MOT calls PQAT, CQAT or PCQAT.
TF-MOT's schemes for those are not used: they hold zeros in Conv2D and Dense alone, and clusters that every channel of a
convolution happens to use drift apart from channel to channel.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from edgepress_convert import quantize
from edgepress_convert.compress import kept_weights, prepare, rounding, simulate
from edgepress_convert.compress.job import Job
from edgepress_convert.compress.kept_weights import Kept
from edgepress_convert.compress.prepare import Dressed
from edgepress_convert.compress.rounding import Rounding
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras


def qat(model: keras.Model, job: Job, *, epochs: int = 5, lr: float = 0.0) -> keras.Model:
    """A plain copy of `model`, trained for `epochs` with the rounding simulated that `job.plan` will bring.

    `lr`: peak rate, the job's own when 0. Layers that LiteRT computes in ways that are not simulated are trained along
    and left to post-training quantization; a note names them. The weights that come back are those before rounding:
    converting rounds them to what was trained with, since folding a normalisation scales whole channels. Activation
    ranges are chosen anew when converting.
    """
    _refuse(job)
    plain = prepare.flat(model)
    parts, where = _places(plain, job)
    kept = {name: kept_weights.read(parts.model.get_layer(name).get_weights()[0]) for name in where.kernels}
    ranges = rounding.observe(parts.model, where, job.representative)
    trained = simulate.rounded(parts.model, where, ranges, kept, job.plan)
    for text in _notes(parts.model, where, kept):
        job.note(text)
    job.fine_tune(trained.model, epochs=epochs, lr=lr or None)
    values = trained.values()
    for name, what in kept.items():
        values[name][0] = kept_weights.held(tf.constant(values[name][0]), what).numpy()
    prepare.undress(parts.model, values)
    prepare.undress(plain, parts.values())
    return plain


def check(model: keras.Model, job: Job, *, epochs: int = 5, lr: float = 0.0) -> None:
    """Whether there is anything to train so. Raises EdgepressError."""
    _refuse(job)
    _places(prepare.flat(model), job)


def _refuse(job: Job) -> None:
    if quantize.scheme(job.plan.scheme).weights != "int8":
        raise EdgepressError(
            f"the model is to be stored as {job.plan.scheme}, which has no int8 to train for",
            "leave qat out, or plan for int8",
        )


def _places(plain: keras.Model, job: Job) -> tuple[Dressed, Rounding]:
    parts = prepare.dress(plain, prepare.split)
    where = rounding.places(parts.model, job.plan)
    if not where.kernels:
        left = prepare.listed(_left(parts.model, where)) or "it has no convolution or dense layer"
        raise EdgepressError(f"no layer of {plain.name} can be trained for int8: {left}", "leave qat out of the recipe")
    return parts, where


def _notes(model: keras.Model, where: Rounding, kept: Mapping[str, Kept]) -> list[str]:
    told = []
    if where.left:
        told.append(f"left to post-training quantization: {prepare.listed(_left(model, where))}")
    sparse = [one for one in kept.values() if one.zeros is not None]
    if sparse:
        every = np.concatenate([one.zeros.reshape(-1) for one in sparse if one.zeros is not None])
        patterns = sorted({f"{n} of {m}" for n, m in (one.pattern for one in sparse if one.pattern)})
        more = f", with the pattern {' and '.join(patterns)}" if patterns else ""
        told.append(f"kept the zeros of {len(sparse)} layers ({100 * every.mean():.0f} % of their weights{more})")
    shared = [one.clusters for one in kept.values() if one.groups is not None]
    if shared:
        told.append(f"kept the clusters of {len(shared)} layers (up to {max(shared)} values besides zero)")
    return told


def _left(model: keras.Model, where: Rounding) -> list[keras.layers.Layer]:
    return [model.get_layer(name) for name in where.left]
