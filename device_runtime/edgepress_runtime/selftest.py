"""The self-test: a model must give its golden outputs on the very machine that is to run it.

The cases of a streaming model are consecutive steps of one stream from its start, so its states are tested with it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepress_runtime import states
from edgepress_runtime.bundle import Bundle

if TYPE_CHECKING:
    from edgepress_runtime.engine import Engine

FLOAT_TOLERANCE = 1e-5  # float kernels add in another order on another processor; integer ones must not differ at all
# ... but for the last engine for 32-bit Arm, tflite-runtime 2.14: its CONV_2D rounds otherwise in one value of 600,
# by one step. Measured through the thirty layers of an EfficientNet on CIFAR-10: up to 7 steps in an output of 256.
TIE_STEPS = 16


@dataclass(frozen=True)
class SelfTest:
    """`exact` of `cases` golden cases came out right; `worst` is the largest difference, in the output's stored units.

    Integer outputs must be equal to the bit, floats within 1e-5. `worst` is infinite where an output was NaN. `close`:
    further cases whose best answer is the right one and whose scores are within 16 steps, on the one engine that rounds
    differently (32-bit Arm); elsewhere there are none.
    """

    cases: int
    exact: int
    worst: float
    close: int = 0

    @property
    def ok(self) -> bool:
        return self.exact + self.close == self.cases

    @property
    def verdict(self) -> str:
        """One clause for people, such as `8 of 8 golden cases exact`."""
        if self.ok:
            near = f", {self.close} within {self.worst:g} steps (this engine rounds another way)"
            return f"{self.exact} of {self.cases} golden cases exact" + (near if self.close else "")
        wrong = self.cases - self.exact - self.close
        return f"{wrong} of {self.cases} golden cases differ, the worst by {self.worst:g}"


def self_test(bundle: Bundle, engine: Engine) -> SelfTest:
    """Run the golden cases of `bundle` through `engine`, which has loaded its model.

    Raises EdgepressError when the model's tensors are not those of the manifest, or when it cannot run at all.
    """
    engine.expect(bundle.manifest.inputs, bundle.manifest.outputs)
    golden = bundle.golden()
    kept = states.initial(engine.inputs, engine.outputs)
    exact = close = 0
    worst = 0.0
    for given, expected in zip(golden.inputs, golden.outputs):
        answers, *following = engine.run(given[np.newaxis], *kept)
        found = answers[0]
        kept = following[: len(kept)]  # none, where further outputs are no states
        difference = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
        if np.isnan(difference):
            # Equal NaNs are wrong too: nobody can act on such an answer.
            difference = float("inf")
        same = difference <= (FLOAT_TOLERANCE if expected.dtype.kind == "f" else 0)
        exact += same
        if not same and not rounds_alike(engine) and expected.dtype.itemsize == 1:
            close += difference <= TIE_STEPS and bool(found.argmax() == expected.argmax())
        worst = max(worst, difference)
    return SelfTest(len(golden), exact, worst, close)


def rounds_alike(engine: Engine) -> bool:
    """Whether its integer kernels round as those of all other engines; tflite-runtime on 32-bit Arm does not."""
    return not (engine.name.startswith("tflite-runtime") and sys.maxsize < 2**32)
