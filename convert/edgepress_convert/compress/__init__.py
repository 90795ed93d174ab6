"""Passes: plain functions from a model to a smaller one. `PASSES` is the whole list.

A pass takes `(model, job, *, ...)`; its first keyword is the shorthand's value (`prune-channels:0.5`). It returns what
it changed: a new plain Keras model (no wrappers, no objects of its own), a `Plan` of how to quantize, or both as a
`Candidate`; its inputs stay as they were. It never measures what it gained and never claims anything: the chain does,
for all alike. What must be kept (zeros, clusters) is read from the weights. What it cannot do it says before anything
is trained, through a function `check(model, job, **the same keywords)` of its module, where there is one:
EdgepressError with the layer and the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgepress_convert.plan import Plan

if TYPE_CHECKING:
    from edgepress_train.keras2 import keras

# name -> module, function and one line for `compress --list`; imported when used
PASSES: dict[str, tuple[str, str, str]] = {
    "prune-channels": (
        "edgepress_convert.compress.channels",
        "prune_channels",
        "remove whole filters: fewer MACs, smaller, faster",
    ),
    "prune": ("edgepress_convert.compress.magnitude", "prune", "set small weights to zero: smaller when deflated"),
    "cluster": ("edgepress_convert.compress.cluster", "cluster", "share weight values: smaller when deflated"),
    "distil": ("edgepress_convert.compress.distil", "distil", "train on with the answers of a teacher"),
    "finetune": ("edgepress_convert.compress.finetune", "finetune", "train on, with labels alone"),
    "qat": ("edgepress_convert.compress.qat", "qat", "train with quantization simulated; keeps zeros and clusters"),
    "equalize": ("edgepress_convert.compress.equalize", "equalize", "even out the channel ranges across layers"),
    "correct-bias": (
        "edgepress_convert.compress.bias",
        "correct_bias",
        "mend the mean error that quantization leaves in each channel",
    ),
    "ranges": ("edgepress_convert.compress.ranges", "ranges", "choose activation ranges by min-max, percentile or mse"),
    "mixed": ("edgepress_convert.compress.mixed", "mixed", "keep the few layers that quantization hurts in int16x8"),
    "mend": (
        "edgepress_convert.compress.mend",
        "mend",
        "the quantization doctor: find what hurts, mend, measure again",
    ),
}

# What a compression leaves in its `steps` for reports: examples (n, *input) float32 to run its models on, and, in the
# last step's folder, what `sensitivity.as_json` gives
EXAMPLES = "representative.npy"
SENSITIVITY = "sensitivity.json"


@dataclass(frozen=True)
class Candidate:
    """A model and how it is to be quantized."""

    model: keras.Model
    plan: Plan = field(default_factory=Plan)
