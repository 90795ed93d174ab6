"""What a bundle that can be taught new classes on the board says about it, and the last layer that it brings along.

Output number `output` of its model is the embedding: the numbers that the last layer sees. `head.npz` holds that layer
and some embeddings of training examples of every class, which keep the old classes in mind while a new one is learnt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgepress_runtime import strict_json
from edgepress_runtime.errors import BundleError
from edgepress_runtime.strict_json import of

if TYPE_CHECKING:
    from edgepress_runtime.manifest import TensorSpec

HEAD = "head.npz"  # the member of a bundle


@dataclass(frozen=True)
class TeachingSpec:
    """Where the embedding comes out: of which `output` of the model, and how many numbers (`size`) it is."""

    output: int
    size: int

    def check(self, outputs: Sequence[TensorSpec], members: Mapping[str, str]) -> None:
        """Raise BundleError unless the model has that output and the bundle brings its last layer."""
        if not 1 <= self.output < len(outputs):
            raise BundleError(
                f"output {self.output} of {len(outputs)} cannot be the embedding", "make the bundle again"
            )
        found = math.prod(outputs[self.output].shape)
        if found != self.size:
            raise BundleError(f"the embedding has {found} numbers, not {self.size}", "make the bundle again")
        if HEAD not in members:
            raise BundleError(f"a bundle that can be taught lacks {HEAD}", "make the bundle again")


def load(value: Any) -> TeachingSpec | None:
    """The manifest's `teaching`: None where there is none."""
    if value is None:
        return None
    raw = strict_json.fields(of(dict, value, "teaching"), TeachingSpec, "teaching")
    return TeachingSpec(
        output=of(int, raw["output"], "teaching.output"),
        size=of(int, raw["size"], "teaching.size"),
    )
