"""What a streaming model carries from step to step: for every i above 0, input i is a state and output i its next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import TensorSpec


def initial(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> list[np.ndarray]:
    """The states at the start of a stream, real 0 throughout: one array for each of `inputs[1:]`, none for none.

    Raises EdgepressError unless every state comes out as it went in: shape, dtype, scale and zero point.
    """
    if len(inputs) == 1:
        return []
    if len(outputs) - len(inputs) not in (0, 1):  # one more is an embedding
        raise EdgepressError(
            f"the model takes {len(inputs) - 1} states but gives {len(outputs) - 1}",
            "a streaming model gives each state back at the place where it took it",
        )
    for i, (taken, given) in enumerate(zip(inputs, outputs)):
        if i and _stored(taken) != _stored(given):
            raise EdgepressError(
                f"state {i} goes in as {_describe(taken)} and comes out as {_describe(given)}",
                "a streaming model gives each state back as it took it",
            )
    return [np.full(s.shape, s.zero_point or 0, s.dtype) for s in inputs[1:]]


def _stored(tensor: TensorSpec) -> tuple[object, ...]:
    return tensor.shape, tensor.dtype, tensor.scale, tensor.zero_point


def _describe(tensor: TensorSpec) -> str:
    text = f"{tensor.dtype} {list(tensor.shape)}"
    return text if tensor.scale is None else f"{text} scale {tensor.scale:.9g} zero point {tensor.zero_point}"
