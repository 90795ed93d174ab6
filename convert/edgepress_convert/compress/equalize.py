"""The pass `equalize`: move ranges across layers until every channel has its share of the 256 steps.

Cross-layer equalization (Nagel et al. 2019, arXiv:1906.04721, section 4.1): what layer 1 puts out in channel i is
divided by s_i, and what layer 2 reads there multiplied by it, s_i = sqrt(r1_i r2_i) / r2_i (eq. 11), where r1_i and
r2_i are the ranges of the weights that write and read channel i. What the net answers stays the same.

By `activations` r1_i is instead the largest activation that the data gives, as in SmoothQuant (Xiao et al. 2022,
arXiv:2211.10438, eq. 4, alpha = 0.5): where each output channel's weights have a scale of their own, only the
activations and the reading weights suffer from uneven channels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from edgepress_convert.compress import kept_weights, prepare
from edgepress_convert.compress.flow import Flow, flow
from edgepress_convert.compress.fold import fold, grouped, kernel_and_bias, scaled, without_ceilings
from edgepress_convert.compress.job import Job
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras

BY = ("weights", "activations")
_EVEN = 1e-3  # a factor closer to 1 than this changes nothing worth another round
_WIDEST = 1e6  # no channel is scaled by more in all: float32 has to hold what comes out
_CHUNK = 64
_TOLD = 4  # layers left alone that are named to a person


def equalize(model: keras.Model, job: Job, *, iterations: int = 20, by: str = "weights") -> keras.Model:
    """A folded copy of `model` whose channels are evened out `by` weights or activations, in at most so many rounds.

    Residual nets too: channels that meet in an addition are scaled alike, by the widest of the ranges. A ReLU6 that no
    representative example reaches the ceiling of becomes a ReLU; one whose ceiling is used keeps its channels as they
    are, as does every layer between which something lets no factor through. Raises EdgepressError as `check` does.
    """
    folded, channels = _prepared(model, job, by)
    kernels = {name: kernel_and_bias(folded.get_layer(name))[0] for name in channels.writes}
    kept = activation_ranges(folded, channels, job.representative) if by == "activations" else None
    factors = balance(folded, channels, kernels, iterations=iterations, activations=kept)
    apply(folded, channels, factors)
    if left := left_alone(channels):
        told = "; ".join(f"{name}, since {why}" for name, why in list(left.items())[:_TOLD])
        more = f"; and {len(left) - _TOLD} more" if len(left) > _TOLD else ""
        job.note(f"equalize left the channels of {len(left)} of {len(channels.writes)} layers alone: {told}{more}")
    return folded


def check(model: keras.Model, job: Job, *, iterations: int = 20, by: str = "weights") -> None:
    """Whether `model` has channels that can be evened out. Raises EdgepressError with what stands in the way."""
    if iterations < 1:
        raise EdgepressError(f"equalize in {iterations} iterations does nothing", "give 1 or more")
    _prepared(model, job, by)


def _prepared(model: keras.Model, job: Job, by: str) -> tuple[keras.Model, Flow]:
    if by not in BY:
        raise EdgepressError(f"unknown way to equalize: by {by!r}", f"known: {', '.join(BY)}")
    folded, _, _ = without_ceilings(fold(model), job.representative)
    channels = flow(folded)
    if not channels.writes:
        raise EdgepressError("the model has no convolution or dense layer to equalize")
    if not channels.parts():
        left = left_alone(channels)
        why = "; ".join(f"{name} must keep its range, since {why}" for name, why in list(left.items())[:1])
        raise EdgepressError(
            f"no channel of the model can be equalized: {why or 'it is a single layer'}",
            "leave equalize out, or use ReLU instead of other activations",
        )
    free = np.concatenate(channels.parts())
    for layer in prepare.flat(model).layers:  # folding has scaled their channels already
        read = channels.reads.get(layer.name)
        if read is not None and np.isin(read, free).any() and kept_weights.read(layer.get_weights()[0]).clusters > 1:
            raise EdgepressError(
                f"{layer.name} has clustered weights, which equalize would scale apart", "equalize first, then cluster"
            )
    return folded, channels


def left_alone(channels: Flow) -> dict[str, str]:
    """Layers none of whose output channels can be scaled, with the reason; the last, which answers, is not told."""
    found = {}
    for name, numbers in list(channels.writes.items())[:-1]:
        reasons = [channels.fixed.get(int(n)) for n in numbers]
        if None not in reasons:
            found[name] = str(reasons[0])
    return found


def balance(
    model: keras.Model,
    channels: Flow,
    kernels: Mapping[str, np.ndarray],
    *,
    iterations: int,
    activations: np.ndarray | None = None,
) -> np.ndarray:
    """What each channel is to be divided by: (numbers,) float64, 1 where it stays.

    `activations` (numbers,): the largest of each channel, in the place of the range of the weights that write it.
    """
    size = 1 + max(int(numbers.max()) for table in (channels.writes, channels.reads) for numbers in table.values())
    factors = np.ones(size)
    parts = channels.parts()
    writers = {name: np.abs(grouped(model.get_layer(name), kernel)) for name, kernel in kernels.items()}
    for _ in range(iterations):
        changed = 0.0
        for part in parts:
            wrote, read = np.zeros(size), np.zeros(size)
            for name, size_of in writers.items():
                ins, outs = channels.reads[name], channels.writes[name]
                _, groups, inputs, outputs = size_of.shape
                if np.isin(ins, part).any() or np.isin(outs, part).any():
                    now = size_of * np.reshape(factors[ins], (1, groups, inputs, 1))
                    now = now / np.reshape(factors[outs], (1, groups, 1, outputs))
                    np.maximum.at(wrote, outs, now.max(axis=(0, 2)).reshape(-1))
                    np.maximum.at(read, ins, now.max(axis=(0, 3)).reshape(-1))
            if activations is not None:
                wrote = activations / factors
            live = part[(wrote[part] > 0) & (read[part] > 0)]  # a dead channel has no range to even out
            step = np.sqrt(wrote[live] * read[live]) / read[live]
            before = factors[live]
            factors[live] = np.clip(before * step, 1 / _WIDEST, _WIDEST)
            changed = max(changed, float(np.abs(factors[live] / before - 1).max(initial=0.0)))
        if changed < _EVEN:
            break
    return factors


def apply(model: keras.Model, channels: Flow, factors: np.ndarray) -> None:
    """Divide what is written to each channel by its factor, and multiply what is read from it, in place."""
    for name in channels.writes:
        layer = model.get_layer(name)
        kernel, bias = kernel_and_bias(layer)
        divisor = factors[channels.writes[name]]
        kernel = scaled(layer, kernel, ins=factors[channels.reads[name]], outs=1 / divisor)
        layer.set_weights([kernel.astype(np.float32), (bias / divisor).astype(np.float32)])


def activation_ranges(model: keras.Model, channels: Flow, examples: np.ndarray) -> np.ndarray:
    """The largest magnitude that `examples` give what is read of each channel: (numbers,) float64, 0 where unseen."""
    size = 1 + max(int(numbers.max()) for table in (channels.writes, channels.reads) for numbers in table.values())
    found = np.zeros(size)
    names = list(channels.reads)
    probe = keras.Model(model.inputs, [model.get_layer(name).get_input_at(0) for name in names])
    for start in range(0, len(examples), _CHUNK):
        seen = tf.nest.flatten(probe(examples[start : start + _CHUNK], training=False))
        for name, values in zip(names, seen, strict=True):
            largest = np.abs(values.numpy()).reshape(-1, values.shape[-1]).max(axis=0)
            np.maximum.at(found, channels.reads[name], largest.astype(np.float64))
    return found
