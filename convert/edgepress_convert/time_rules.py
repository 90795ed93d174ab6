"""What time does in each kind of operator, and the walk through a graph that asks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edgepress_convert.timeline import Frames, Net, Reach, Seen

_PLAIN = "build the net from convolutions, pools, additions, products and activations"
_VALID = "use 'valid' padding along time, and crop what goes around it (Cropping2D)"


def follow(model: schema.ModelT) -> tuple[Net, tuple[Seen, ...]]:
    """Every operator of the main graph, in order, as time meets it. Raises StreamError for what no stream can give."""
    net = Net(model)
    (source,) = net.graph.inputs
    net.frames[source] = Frames(net.shape(source)[1], 1)
    found = []
    for op in net.graph.operators:
        timed = [i for i in op.inputs if i in net.frames]
        if not timed:
            found.append(Seen(-1, Reach(), None))
            continue
        rule = RULES.get(net.kind(op))
        if rule is None:
            raise net.fail(op, "edgepress does not know how this operator treats time", _PLAIN)
        if all(net.frames[i].count == 0 for i in timed):  # behind the end of time everything is as before
            seen = Seen(timed[0], Reach(), _same(net, op, timed))
        else:
            seen = rule(net, op, timed)
        found.append(seen)
        for output in op.outputs:
            assert seen.frames is not None
            net.frames[output] = seen.frames
    return net, tuple(found)


def _same(net: Net, op: schema.OperatorT, timed: Iterable[int]) -> Frames:
    """The one time axis of inputs that meet."""
    axes = {net.frames[i] for i in timed}
    if len(axes) == 1:
        return axes.pop()
    told = " and ".join(sorted(f"{a.count} at one in {a.rate}" for a in axes))
    raise net.fail(op, f"branches of different times meet here (frames: {told})", "give them the same reach and stride")


def _one(net: Net, op: schema.OperatorT, timed: list[int]) -> Frames:
    """The time axis of the only input that may have one, the data; a kernel computed on the way is refused."""
    if len(set(timed)) > 1:
        raise net.fail(op, "its weights are computed by the model", _PLAIN)
    return net.frames[timed[0]]


def _pointwise(net: Net, op: schema.OperatorT, timed: list[int]) -> Seen:
    frames = _same(net, op, timed)
    rank = len(net.shape(op.outputs[0]))
    for index in op.inputs:
        axis = len(net.shape(index)) - rank + 1
        if index not in net.frames and axis >= 0 and net.shape(index)[axis] > 1:
            raise net.fail(op, "a constant of it differs from frame to frame", "use the same for all frames")
    return Seen(timed[0], Reach(), frames)


def _along_channels(net: Net, op: schema.OperatorT, timed: list[int]) -> Seen:
    """CONCATENATION and SPLIT, which may join and part anything but time."""
    options, inputs = op.builtinOptions, list(op.inputs)
    axis = options.axis if hasattr(options, "axis") else _axes(net, op, inputs[0])[0]
    if axis % len(net.shape(op.outputs[0])) == 1:
        raise net.fail(op, "it joins or parts time", _PLAIN)
    if len(timed) + hasattr(options, "numSplits") < len(inputs):
        raise net.fail(op, "it joins frames to a constant", _PLAIN)
    return Seen(timed[0], Reach(), _same(net, op, timed))


def _softmax(net: Net, op: schema.OperatorT, timed: list[int]) -> Seen:
    return Seen(timed[0], Reach(), _one(net, op, timed))  # over the last axis, never time


def _convolution(net: Net, op: schema.OperatorT, timed: list[int]) -> Seen:
    options, weights = op.builtinOptions, op.inputs[1]
    if _floats(net, op.inputs[0]) and net.tensors[weights].type in (schema.TensorType.INT8, schema.TensorType.INT4):
        raise net.fail(
            op,
            "with int8 weights and float activations (dynamic) it measures the range of the whole window",
            "use --quantize int8, int16x8, float16 or float32",
        )
    size = (net.shape(weights)[1] - 1) * options.dilationHFactor + 1
    return _sliding(net, op, timed, size, options.strideH)


def _pool(net: Net, op: schema.OperatorT, timed: list[int]) -> Seen:
    return _sliding(net, op, timed, op.builtinOptions.filterHeight, op.builtinOptions.strideH)


def _sliding(net: Net, op: schema.OperatorT, timed: list[int], size: int, stride: int) -> Seen:
    """A window of `size` frames that moves on by `stride`.

    Where the whole window gives one frame its stride means nothing, and Keras sets that of a pool to its size; a stream
    would then judge windows side by side instead of a sliding one, so such a stride counts as 1.
    """
    before, count = _one(net, op, timed), net.shape(op.outputs[0])[1]
    if count == 1 and stride >= size:
        stride = 1
    late = before.count - ((count - 1) * stride + size)
    if late < 0:
        raise net.fail(op, "it pads time ('same')", _VALID)
    return Seen(timed[0], Reach(size, stride, late), Frames(count, before.rate * stride))


def _pad(net: Net, op: schema.OperatorT, timed: list[int]) -> Seen:
    paddings = net.constant(op.inputs[1])
    if paddings is None or paddings[1].any():
        raise net.fail(op, "it pads time", _VALID)
    return Seen(timed[0], Reach(), _one(net, op, timed))


def _crop(net: Net, op: schema.OperatorT, timed: list[int]) -> Seen:
    """SLICE and STRIDED_SLICE. Frames cut from the end are a delay; those cut from the start are simply the past."""
    before = _one(net, op, timed)
    start, stride, count = time_range(net, op)
    late = before.count - 1 - (start + (count - 1) * stride)
    stride = 1 if count == 1 else stride
    return Seen(timed[0], Reach(1, stride, late), Frames(count, before.rate * stride))


def time_range(net: Net, op: schema.OperatorT) -> tuple[int, int, int]:
    """(start, stride, count) of the frames that a SLICE or STRIDED_SLICE takes. Raises StreamError."""
    arguments = [net.constant(i) for i in op.inputs[1:]]
    if any(value is None for value in arguments):
        raise net.fail(op, "where it cuts is computed by the model", _PLAIN)
    values = [value.tolist() for value in arguments if value is not None]
    count = net.shape(op.outputs[0])[1]
    if net.kind(op) == "SLICE":
        return values[0][1], 1, count
    options = op.builtinOptions
    if options.ellipsisMask or options.newAxisMask or options.shrinkAxisMask or values[2][1] < 1:
        raise net.fail(op, "it changes the axes", "cut with Cropping2D")
    total = net.frames[op.inputs[0]].count
    start = 0 if options.beginMask & 2 else values[0][1]
    return start + total if start < 0 else start, values[2][1], count


def _reduce(net: Net, op: schema.OperatorT, timed: list[int]) -> Seen:
    """MEAN and its like: over time it is a pool of the whole window, which a stream computes anew at each step."""
    before = _one(net, op, timed)
    axes = [axis % len(net.shape(op.inputs[0])) for axis in _axes(net, op, op.inputs[1])]
    if 1 not in axes:
        if 0 in axes and not op.builtinOptions.keepDims:
            raise net.fail(op, "it drops the batch axis", _PLAIN)
        return Seen(timed[0], Reach(), before)
    after = Frames(1 if op.builtinOptions.keepDims else 0, before.rate)
    return Seen(timed[0], Reach(before.count), after)


def _axes(net: Net, op: schema.OperatorT, index: int) -> list[int]:
    axes = net.constant(index)
    if axes is None:
        raise net.fail(op, "its axes are computed by the model", _PLAIN)
    return [int(axis) for axis in axes.ravel()]


def _reshape(net: Net, op: schema.OperatorT, timed: list[int]) -> Seen:
    """Frames stay frames where axis 1 stays; a flat result (1, n) takes in all frames of the window at once."""
    before, shape = _one(net, op, timed), net.shape(op.outputs[0])
    if len(shape) == 2 and shape[0] == 1:
        return Seen(timed[0], Reach(before.count), Frames(0, before.rate))
    if len(shape) > 2 and shape[:2] == (1, before.count):
        return Seen(timed[0], Reach(), before)
    raise net.fail(op, f"it moves time, from {list(net.shape(op.inputs[0]))} to {list(shape)}", _PLAIN)


def _dense(net: Net, op: schema.OperatorT, timed: list[int]) -> Seen:
    before, shape = _one(net, op, timed), net.shape(op.outputs[0])
    if len(shape) > 2 and shape[1] == before.count:
        return Seen(timed[0], Reach(), before)
    if len(shape) == 2 and shape[0] == 1 and math.prod(net.shape(op.inputs[0])) == net.shape(op.inputs[1])[1]:
        return Seen(timed[0], Reach(before.count), Frames(0, before.rate))
    raise net.fail(op, "it takes frames for a batch", "use a 1x1 convolution")


def _floats(net: Net, index: int) -> bool:
    return net.tensors[index].type == schema.TensorType.FLOAT32


_ELEMENT_BY_ELEMENT = (
    "ABS", "ADD", "CAST", "COS", "DEQUANTIZE", "DIV", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOG",
    "LOGISTIC", "MAXIMUM", "MINIMUM", "MUL", "NEG", "POW", "PRELU", "QUANTIZE", "RELU", "RELU6", "RELU_0_TO_1",
    "RELU_N1_TO_1", "ROUND", "RSQRT", "SIN", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SUB", "TANH",
)  # fmt: skip

# kind -> what time does there; an operator that is not here is refused by name
RULES: dict[str, Callable[[Net, Any, list[int]], Seen]] = {
    **dict.fromkeys(_ELEMENT_BY_ELEMENT, _pointwise),
    "CONCATENATION": _along_channels,
    "SPLIT": _along_channels,
    "SOFTMAX": _softmax,
    "LOG_SOFTMAX": _softmax,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _convolution,
    "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool,
    "L2_POOL_2D": _pool,
    "PAD": _pad,
    "PADV2": _pad,
    "MIRROR_PAD": _pad,
    "SLICE": _crop,
    "STRIDED_SLICE": _crop,
    "MEAN": _reduce,
    "SUM": _reduce,
    "REDUCE_MAX": _reduce,
    "REDUCE_MIN": _reduce,
    "RESHAPE": _reshape,
    "FULLY_CONNECTED": _dense,
}  # fmt: skip
