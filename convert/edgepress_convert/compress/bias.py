"""The pass `correct-bias`: give back to each channel the mean that quantization took from it.

Empirical bias correction (Nagel et al. 2019, arXiv:1906.04721, section 4.2 and appendix D): E[y_int8] - E[y_float] of
each output channel, over examples, is taken from the bias. From the input to the output, each layer is measured behind
corrected ones. LiteRT computes a ReLU together with its convolution, so what is seen lies behind it; there a bias moves
the mean only where the ReLU lets it through, and the error is divided by that share of the places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress_convert import compact, flatbuffer, layer_map, layers, quantize
from edgepress_convert.compress import diagnosis
from edgepress_convert.compress.fold import fold, has_kernel
from edgepress_convert.compress.job import Job
from edgepress_convert.flatbuffer import Graph, Op, Tensor
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras
from edgepress_train.progress import Progress, silent

_LEAST_OPEN = 0.05  # a ReLU that lets less than this share through says too little of what lies before it
_SURE = 2.0  # standard errors that a mean must be away from 0 to be taken for more than chance


@dataclass(frozen=True)
class Means:
    """Of one operator's output, by example and channel, (n, channels) float64: `mean` over all places, and `open`, the
    share of places where no ReLU cut it off."""

    mean: np.ndarray
    open: np.ndarray


def correct_bias(model: keras.Model, job: Job, *, examples: int = 64) -> keras.Model:
    """A folded copy of `model` with biases corrected for `job.plan`, by the means over so many of `job.representative`.

    A channel whose mean error could be chance (within 2 standard errors over the examples), or did not shrink, keeps
    its bias. Layers called several times are left as they are. Raises EdgepressError as `check` does.
    """
    check(model, job, examples=examples)
    folded = fold(model)
    before = quantize.convert(folded, ["float32"])["float32"]
    after = quantize.from_plan(folded, job.plan, job.representative)
    owners = _owners(folded, before, job.representative)
    for name, shift in shifts(before, after, owners, job.representative[:examples], job.progress).items():
        layer = folded.get_layer(name)
        kernel, bias = layer.get_weights()
        layer.set_weights([kernel, (bias + shift).astype(np.float32)])
    return folded


def check(model: keras.Model, job: Job, *, examples: int = 64) -> None:
    """Whether there is anything to correct. Raises EdgepressError."""
    if quantize.scheme(job.plan.scheme).weights != "int8":
        raise EdgepressError(
            f"{job.plan.scheme} leaves no mean error to correct in any layer",
            "leave correct-bias out, or plan for int8",
        )
    if examples < 2:
        raise EdgepressError(f"no mean can be told from chance over {examples} examples", "give 2 or more")


def shifts(
    before: bytes, after: bytes, owners: Mapping[int, str], inputs: np.ndarray, progress: Progress = silent
) -> dict[str, np.ndarray]:
    """What to add to the bias of each layer: (channels,) float64 by name.

    `before` and `after` are the float and the quantized .tflite of the same model, `owners` the layers that its
    operators with a bias compute, by the tensor of `before` that they put out. `inputs`: (n, ...) float32.
    """
    graph = flatbuffer.graphs(after)[0]
    edited = schema.ModelT.InitFromObj(schema.Model.GetRootAs(after, 0))
    todo = _correctable(before, after, owners)
    wanted = means(before, [source for source, _, _ in todo], inputs)
    found: dict[str, np.ndarray] = {}
    for number, (source, op, name) in enumerate(todo):
        progress("correct-bias", number, len(todo), name)
        bias = _bias(op, graph)
        assert bias is not None
        given = means(compact.write(edited), op.outputs, inputs)[op.outputs[0]]
        shift = answer(wanted[source], given)
        _store(edited, bias, shift)
        corrected = means(compact.write(edited), op.outputs, inputs)[op.outputs[0]]
        error, left = (np.abs((seen.mean - wanted[source].mean).mean(axis=0)) for seen in (given, corrected))
        found[name] = _store(edited, bias, np.where(left < error, shift, 0.0))
    return found


def answer(wanted: Means, given: Means) -> np.ndarray:
    """What each channel's bias has to move by, (channels,) float64, for the mean to be as wanted; 0 where the error may
    be chance, or the ReLU is nearly closed."""
    apart = given.mean - wanted.mean
    error, sure = apart.mean(axis=0), apart.std(axis=0, ddof=1) / np.sqrt(len(apart))
    share = wanted.open.mean(axis=0)
    clear = (np.abs(error) > _SURE * sure) & (share >= _LEAST_OPEN)
    return np.where(clear, -error / np.maximum(share, _LEAST_OPEN), 0.0)


def means(model: bytes, outputs: Sequence[int], inputs: np.ndarray) -> dict[int, Means]:
    """Means of the tensors `outputs` of a .tflite when it runs on `inputs` (n, ...) float32."""
    rows: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {output: [] for output in outputs}
    probe = layers._Probe(model, flatbuffer.graphs(model)[0])
    for example in inputs:
        probe.run(example[np.newaxis])
        for output, seen in rows.items():
            x = probe.value(output)
            x = x.reshape(-1, x.shape[-1])
            # Only a ReLU (or ReLU6) gives exact zeros (or sixes and nothing above) in more than a stray place.
            seen.append((x.mean(axis=0), ((x != 0) & ((x != 6) | (x.max() > 6))).mean(axis=0)))
    return {
        output: Means(*(np.array(part) for part in zip(*seen, strict=True))) for output, seen in rows.items() if seen
    }


def _owners(model: keras.Model, before: bytes, examples: np.ndarray) -> dict[int, str]:
    """By the tensor that it puts out: the layer with a kernel that an operator computes, where it is called once."""
    ops = flatbuffer.graphs(before)[0].ops
    kernels = {layer.name for layer in model.layers if has_kernel(layer)}
    found: dict[str, list[int]] = {}
    for unit in layer_map.trace(model, before, examples).units:
        computed = [ops[n].outputs[0] for n in unit.ops if ops[n].kind in diagnosis.KERNELS]
        named = kernels.intersection(unit.layers)
        for name in named:
            found.setdefault(name, []).extend(computed if len(named) == 1 else (-1, -1))
    return {outputs[0]: name for name, outputs in found.items() if len(outputs) == 1}


def _correctable(before: bytes, after: bytes, owners: Mapping[int, str]) -> list[tuple[int, Op, str]]:
    """Of each operator that can be corrected: its output in `before`, itself in `after`, and its layer."""
    first, second = flatbuffer.graphs(before)[0], flatbuffer.graphs(after)[0]
    rows = [(a.outputs[0], b) for a, b in layers._pairs(first, second) if b.kind in diagnosis.KERNELS]
    return [(source, op, owners[source]) for source, op in rows if source in owners and _bias(op, second) is not None]


def _bias(op: Op, graph: Graph) -> Tensor | None:
    """The constant bias of an operator with a kernel."""
    place = diagnosis.KERNELS[op.kind][1]
    if place >= len(op.inputs) or op.inputs[place] < 0:
        return None
    tensor = graph.tensors[op.inputs[place]]
    return tensor if tensor.data is not None else None


def _store(edited: schema.ModelT, bias: Tensor, shift: np.ndarray) -> np.ndarray:
    """Store the values that `bias` had at first, moved by `shift` in real numbers; what they then really moved by.

    In a buffer of its own, since the converter lets equal biases share one.
    """
    stored = bias.values()
    if stored.dtype.kind == "f":
        moved = (stored + shift).astype(stored.dtype)
        real = moved.astype(np.float64) - stored
    else:
        limits, step = np.iinfo(np.int32), np.array(bias.scales, np.float64)
        moved = np.clip(stored + np.rint(shift / step), limits.min, limits.max).astype(stored.dtype)
        real = (moved.astype(np.float64) - stored) * step
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(moved.tobytes(), np.uint8)
    edited.buffers.append(buffer)
    edited.subgraphs[0].tensors[bias.index].buffer = len(edited.buffers) - 1
    return real
