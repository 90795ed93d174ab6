"""How a model is to be quantized: one frozen plan, which travels with the model and is plain JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgepress_runtime.errors import EdgepressError


@dataclass(frozen=True)
class Plan:
    """`scheme` is a name in `quantize.SCHEMES`, `weights` one of `quantize.WEIGHTS`.

    `ranges`: how the range of an activation is chosen from the representative examples, as `min-max`,
    `percentile:99.9` or `mse`. `keep`: layers, by the name of the Keras layer, that are stored by another scheme
    (`int16x8`, `float16` or `float32`).
    """

    scheme: str = "int8"
    weights: str = "per-channel"
    ranges: str = "min-max"
    keep: Mapping[str, str] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether the converter does it all by itself: no ranges of one's own, no layers kept."""
        return self.ranges == "min-max" and not self.keep


def as_json(plan: Plan) -> dict[str, Any]:
    """`plan` as plain JSON values, for `run.json` and manifests."""
    return {**dataclasses.asdict(plan), "keep": dict(plan.keep)}


def from_json(value: Mapping[str, Any]) -> Plan:
    """What `as_json` wrote; the plain int8 plan for an empty mapping. Raises EdgepressError."""
    try:
        return Plan(**value)
    except TypeError as error:
        raise EdgepressError(f"the quantization plan cannot be read: {error}", "compress the run again") from None
