"""What a candidate is worth and what it costs: measured the same way for every step of every chain."""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress_convert import quantize, streaming, tflite, verify
from edgepress_convert.compact import shorten
from edgepress_convert.compress import Candidate
from edgepress_convert.examples import Examples
from edgepress_convert.multipliers import refuse_deadly
from edgepress_runtime.engine import open_engine
from edgepress_runtime.manifest import SpeechSpec
from edgepress_train.lessons import Lessons

MAX_JUDGED = 5000  # validation examples that accuracy is measured on
_WARMUP = 5
_CONFIDENCE = 1.96  # standard normal quantile of 97.5 %


@dataclass(frozen=True)
class Measured:
    """One candidate. Shares are 0 to 1; sizes are of the .tflite that would land on a board.

    `float_top1`: of the Keras model, `top1`: of the quantized one, on the same `n` validation examples, with
    `cross_entropy` (nats, mean) of the quantized one. `deflated_bytes`: after zlib at level 9, what a download or an
    update costs. `macs`, `arena_bytes`, `params`, `sparsity` as in `tflite.ModelFacts`; for a keyword spotter those of
    one step of its stream.
    """

    n: int
    float_top1: float
    top1: float
    cross_entropy: float
    bytes: int
    deflated_bytes: int
    macs: int
    arena_bytes: int
    params: int
    sparsity: float


@dataclass(frozen=True)
class Speedup:
    """How many times faster one model is than another on this machine: `ratio` of median times, with an interval.

    `low` and `high` bound the median of the paired ratios at 95 % (by order statistics). `before_ms` and `after_ms` are
    the medians; both models ran in turn, `runs` times, one thread each.
    """

    before_ms: float
    after_ms: float
    ratio: float
    low: float
    high: float
    runs: int


def held_out(lessons: Lessons, *, limit: int = MAX_JUDGED) -> Examples:
    """The validation examples of `lessons`, evenly thinned to `limit`. There must be some."""
    assert lessons.val is not None
    inputs = np.concatenate([batch[0].numpy() for batch in lessons.val])
    index = np.unique(np.linspace(0, len(inputs) - 1, min(limit, len(inputs))).astype(np.int64))
    return Examples(inputs[index], lambda part: part, lessons.val_labels[index], "examples")


def landed(model: bytes, lessons: Lessons) -> bytes:
    """The file that a board would get: pictures take the model as it is, sound its streaming form."""
    return shorten(streaming.stream(model) if isinstance(lessons.preprocessing, SpeechSpec) else model)


def build(candidate: Candidate, representative: np.ndarray) -> bytes:
    """The candidate's whole-window .tflite, quantized as its plan says."""
    return quantize.from_plan(candidate.model, candidate.plan, representative)


def measure(candidate: Candidate, built: bytes, lessons: Lessons, held: Examples) -> Measured:
    """Accuracy of the candidate's model and of `built`, what was made of it, and what the latter costs."""
    assert held.labels is not None
    expected = np.concatenate([candidate.model.predict(batch, verbose=0) for batch in held.batches()])
    found = verify.scores(built, held)
    right = found[np.arange(len(found)), held.labels]
    file = landed(built, lessons)
    facts = tflite.facts(file)
    return Measured(
        n=len(held),
        float_top1=float((expected.argmax(axis=1) == held.labels).mean()),
        top1=float((found.argmax(axis=1) == held.labels).mean()),
        cross_entropy=float(-np.log(np.maximum(right, 1 / 512)).mean()),  # half a step of an int8 probability
        bytes=facts.bytes,
        deflated_bytes=len(zlib.compress(file, 9)),
        macs=facts.macs,
        arena_bytes=facts.arena_bytes,
        params=facts.params,
        sparsity=facts.sparsity,
    )


def speedup(before: bytes, after: bytes, *, seconds: float = 2.0, max_runs: int = 400) -> Speedup:
    """Time two .tflite files in turn on this machine for about `seconds`, on noise, one thread each.

    In turn, so that whatever else the machine does meets both alike. Raises EdgepressError for one that cannot load.
    """
    refuse_deadly(before)
    refuse_deadly(after)
    calls = []
    for model in (before, after):
        engine = open_engine(model, threads=1)
        inputs = [_noise(tensor.shape, tensor.dtype) for tensor in engine.inputs]
        calls.append((engine, inputs))
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    for run in range(-_WARMUP, max_runs):
        for (engine, inputs), taken in zip(calls, times, strict=True):
            begin = time.perf_counter()
            engine.run(*inputs)
            if run >= 0:
                taken.append((time.perf_counter() - begin) * 1e3)
        if time.perf_counter() > end and run >= 20:
            break
    for engine, _ in calls:
        engine.close()
    return _in_turn(times[0], times[1])


def between(before: Sequence[float], after: Sequence[float]) -> Speedup:
    """The speedup between two series of milliseconds that were not taken in turn; its interval is a cautious one.

    The interval goes from the slowest median that `before` may have over the fastest of `after`, and back.
    """
    (b_low, b, b_high), (a_low, a, a_high) = _median(before), _median(after)
    return Speedup(b, a, b / a, b_low / a_high, b_high / a_low, min(len(before), len(after)))


def _in_turn(before: Sequence[float], after: Sequence[float]) -> Speedup:
    low, ratio, high = _median(np.asarray(before) / np.asarray(after))
    return Speedup(float(np.median(before)), float(np.median(after)), ratio, low, high, len(before))


def _median(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """The median of `values` between the ranks that bound it at 95 % (David & Nagaraja 2003, Order Statistics, 7.1)."""
    ordered = np.sort(values)
    n = len(ordered)
    reach = _CONFIDENCE * np.sqrt(n) / 2
    low, high = int(max(0, np.floor(n / 2 - reach))), int(min(n - 1, np.ceil(n / 2 + reach)))
    return float(ordered[low]), float(np.median(ordered)), float(ordered[high])


def _noise(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
