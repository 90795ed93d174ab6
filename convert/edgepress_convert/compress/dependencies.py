"""Which channels of a net must go together when one goes.

A residual sum can only lose channel 3 of both its branches, with the filters that make them and whatever takes them in.
The net is walked from input to output, each tensor carrying a label for each position of its last axis; labels that
must go together are joined, and those that are the same in the end are one unit: what can be removed, or nothing of it
(the grouping of Fang et al. 2023, DepGraph, arXiv:2301.12900, section 3.2).

A unit is removed as if the kernels that take it in had zeros there. Where one of its channels has the value 0
throughout, removing it changes nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from edgepress_convert.compress.channel_rules import rule_of
from edgepress_convert.compress.surgery import calls
from edgepress_convert.compress.units import Call, Dependencies, Walk
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras


def follow(model: keras.Model) -> Dependencies:
    """The units of `model`, a functional model without models in it (see `surgery.rebuild`) and of fixed input size.

    The channels of its inputs and outputs are kept, and those that meet a layer that is not known.
    """
    walk = Walk()
    labels: dict[int, np.ndarray] = {}
    for tensor in model.inputs:
        if None in tensor.shape[1:]:
            raise EdgepressError(
                f"the model's input is {list(tensor.shape[1:])}: channels can be counted for fixed sizes only",
                "build the model with a fixed input size",
            )
        labels[id(tensor)] = walk.fresh(_shape(tensor)[-1])
        walk.freeze(labels[id(tensor)], "", "")
    for node in calls(model):
        outputs = tf.nest.flatten(node.outputs)
        if all(id(tensor) in labels for tensor in outputs):
            continue
        call = Call(
            node.layer,
            tuple(labels[id(tensor)] for tensor in node.keras_inputs),
            tuple(_shape(tensor) for tensor in node.keras_inputs),
            tuple(_shape(tensor) for tensor in outputs),
            node,
        )
        results = rule_of(node.layer)(walk, call)
        for tensor, result in zip(outputs, results, strict=True):
            assert len(result) == _shape(tensor)[-1], f"{node.layer.name}: {len(result)} labels"
            labels[id(tensor)] = result
    for tensor in model.outputs:
        walk.freeze(labels[id(tensor)], "", "")
    return walk.finish()


def _shape(tensor: Any) -> tuple[int, ...]:
    """Without the batch; () becomes (1,), and what is left open counts as 1."""
    return tuple(n or 1 for n in tensor.shape[1:]) or (1,)
