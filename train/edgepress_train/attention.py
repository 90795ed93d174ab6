"""Attention transfer: what a student looks at in its feature maps is drawn to what a teacher looks at.

Zagoruyko & Komodakis 2017, arXiv:1612.03928. Where a map is strong is compared, not what it holds, so the nets may
differ in their channels and nothing has to be learned that is thrown away afterwards. It was chosen by a trial: a
ResNet of 6 to 24 channels on 1,200 pictures of CIFAR-10 at 16x16, taught by ResNet-8 (56.7 % right), mean of three
seeds: labels alone 40.1 %, with answers (weight 0.7, temperature 2) 41.4 %, with attention as well 43.7 % at a weight
of 1 (42.7 % at 0.3, 42.5 % at 3, 40.3 % at 10), with maps regressed through learned 1x1 projections 42.4 % at best.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train import keras_files

_TINY = 1e-12


def attention(maps, size: tuple[int, int] | None = None):
    """(n, height, width, channels) -> (n, cells), each row of length 1: the sum of squares over the channels.

    F_sum^2 of section 3.1, as a vector divided by its L2 norm, brought to `size` (height, width) before that. A map of
    nothing but zeros stays zero.
    """
    where = tf.reduce_sum(tf.square(maps), axis=3, keepdims=True)
    if size is not None and tuple(maps.shape[1:3]) != size:
        where = tf.image.resize(where, size, antialias=True)
    flat = tf.reshape(where, [tf.shape(maps)[0], -1])
    return flat * tf.math.rsqrt(tf.maximum(tf.reduce_sum(tf.square(flat), axis=1, keepdims=True), _TINY))


def apart(student, teacher):
    """(n,): half the squared distance of two attention maps, (n, height, width, channels) each, 0 to 1.

    A term of the sum in equation 2 (without its factor beta), with the norm squared as in the authors' own code, so
    that its gradient fades where the maps agree. Maps of two sizes are compared at the smaller one.
    """
    size = tuple(min(pair) for pair in zip(student.shape[1:3], teacher.shape[1:3], strict=True))
    return 0.5 * tf.reduce_sum(tf.square(attention(student, size) - attention(teacher, size)), axis=1)


def pairs(
    student: Any, teacher: Any, shapes: tuple[Sequence[int], Sequence[int]], *, named: Sequence[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    """(student's layer, teacher's layer) whose maps are to be compared: `named`, or the last ones of equal size.

    `shapes`: of one input of either, (height, width, channels). Sizes are equal when they are the same share of the
    input; where none are, the last map of either net makes the only pair. Raises EdgepressError for a net without maps,
    or without a layer that is named.
    """
    ends = [(net, maps(net, shape)) for net, shape in zip((student, teacher), shapes, strict=True)]
    for number, (net, found) in enumerate(ends):
        missing = next((pair[number] for pair in named if pair[number] not in found), None)
        if missing is not None or not found:
            what = "has no layer" if missing is None else f"{missing!r} is no layer of {net.name}"
            what = f"{net.name} {what}" if missing is None else what
            raise EdgepressError(
                f"{what} with a map of features, (height, width, channels)", "leave the weight of features at 0"
            )
    if named:
        return list(named)
    (_, own), (_, others) = ends
    scale = [mine / other for mine, other in zip(shapes[0][:2], shapes[1][:2], strict=True)]
    chosen: dict[tuple[int, int], tuple[str, str]] = {}
    for name, size in own.items():
        alike = [
            other
            for other, measured in others.items()
            if all(abs(m * k - s) <= 0.5 for m, k, s in zip(measured, scale, size, strict=True))
        ]
        if alike:
            chosen[size] = (name, alike[-1])  # a later layer of the size takes the place of an earlier one
    return list(chosen.values()) or [(list(own)[-1], list(others)[-1])]


def maps(net: Any, shape: Sequence[int]) -> dict[str, tuple[int, int]]:
    """The layers of a Keras model, of any version, that give maps of more than one cell, and their (height, width).

    Only layers behind the first with weights count: what lies before looks at nothing. In the order of the net; `shape`
    is that of one input, for a net that leaves its size open.
    """
    first = next((number for number, layer in enumerate(net.layers) if layer.weights), len(net.layers))
    layers = [layer for layer in net.layers[first:] if _flat(layer) and len(layer.output.shape) == 4]
    if not layers:
        return {}
    seen = showing(net, [layer.name for layer in layers])(np.zeros((1, *shape), np.float32), training=False)[1]
    sizes = {layer.name: (int(one.shape[1]), int(one.shape[2])) for layer, one in zip(layers, seen, strict=True)}
    return {name: size for name, size in sizes.items() if size != (1, 1)}


def showing(net: Any, layers: Sequence[str]) -> Any:
    """A Keras model that shares everything with `net` and gives (what `net` gives, [what each of `layers` gives])."""
    outputs = [net.outputs[0], [net.get_layer(name).output for name in layers]]
    return keras_files.library_of(net).Model(net.inputs[0], outputs)


def _flat(layer: Any) -> bool:
    """Whether a layer gives one tensor, at one place of the net."""
    try:
        return hasattr(layer.output, "shape")
    except (AttributeError, RuntimeError):  # several places, or none
        return False
