"""The pass `ranges`: how the range of each activation is chosen from the representative examples."""

from __future__ import annotations

from dataclasses import replace

from edgepress_convert import activation_ranges, quantize
from edgepress_convert.compress.job import Job
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras


def ranges(model: keras.Model, job: Job, *, method: str = "mse", percent: float = 99.99) -> Plan:
    """`job.plan` with ranges by `method`: `min-max`, `percentile` or `mse`.

    `min-max` holds everything that was seen. `percentile` gives up what lies beyond `percent` of all values on either
    side; `mse` finds the range with the least squared error of what is stored (Nagel et al. 2021, arXiv:2106.08295,
    section 3.1). The model's input keeps its whole range. Says nothing of what is won: `mse` weighs each outlier by its
    square, a percentile forgets it.
    """
    check(model, job, method=method, percent=percent)
    return replace(job.plan, ranges=_text(method, percent))


def check(model: keras.Model, job: Job, *, method: str = "mse", percent: float = 99.99) -> None:
    """Whether there are ranges to choose, and such a way to. Raises EdgepressError."""
    activation_ranges.parse(_text(method, percent))
    if job.plan.scheme != "int8":
        raise EdgepressError(
            f"the model is to be stored as {job.plan.scheme}, whose ranges are not chosen",
            "leave ranges out, or use int8",
        )
    quantize.check_plan(job.plan)


def _text(method: str, percent: float) -> str:
    return f"{method}:{percent:g}" if method == "percentile" else method
