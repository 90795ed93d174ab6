"""How many threads a model should have on this board: the counts in turn, so that heat meets them all alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from edgepress_runtime.bundle import Bundle
from edgepress_runtime.engine import open_engine
from edgepress_runtime.timing import Progress, in_turn, latency
from edgepress_runtime.validity import Watch, judge
from edgepress_runtime.workload import workload


@dataclass(frozen=True)
class SweepRow:
    """One count of threads. `speedup`: the first count's median time over this one's."""

    threads: int
    latency_ms: Mapping[str, float]
    speedup: float
    valid: bool
    reasons: Sequence[str]


def sweep(
    bundle: Bundle,
    counts: Sequence[int],
    *,
    runs: int = 300,
    seconds: float = 0.0,
    progress: Progress = lambda done, total: None,
    **options: Any,
) -> list[SweepRow]:
    """Measure `bundle` with each of `counts` threads, in turn. `options` are those of `open_engine`, but threads."""
    watch = Watch()
    with ExitStack() as stack:
        engines = [stack.enter_context(open_engine(bundle.model_source, threads=count, **options)) for count in counts]
        calls = [workload(engine, bundle).call for engine in engines]
        times = in_turn(calls, runs=runs, seconds=seconds, progress=progress, look=watch.look)
    record = watch.end()
    told = [latency(taken) for taken in times]
    rows = []
    for count, taken, figures in zip(counts, times, told):
        reasons = judge(taken, record, threads=count)
        rows.append(SweepRow(count, figures, told[0]["p50"] / figures["p50"], not reasons, reasons))
    return rows
