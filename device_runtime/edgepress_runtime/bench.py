"""How long a model takes on this machine, end to end, and how much of that is this runtime's own doing."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable

import numpy as np

from edgepress_runtime.bundle import Bundle
from edgepress_runtime.classify import Classifier
from edgepress_runtime.engine import Engine, open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.machine import describe, load_1min, peak_rss_mb
from edgepress_runtime.spot import THREADS
from edgepress_runtime.workload import Call, bare_call, workload

WARMUP = 10


@dataclass(frozen=True)
class BenchResult:
    """One measurement; the fields are the keys of `bench --json`. Times in milliseconds, memory in MB of 10^6 bytes.

    `latency_ms` (p50, p90, p99, mean, n) is a whole call: pixels at the model's size to label and score, or the new
    sound of one step to its scores. `load_ms` goes from the verified bundle to a model that is ready, `first_ms` is the
    first call. `overhead_ratio` compares the medians of that call, for sound without the front end, and of the engine
    alone (set, invoke, get, a stream's states carried over), taken alternately. `cpu_s_per_audio_s` is the processor
    time of the whole path from samples to decisions over a minute of noise, None for pictures. `energy_mj` and
    `power_source` are None: no meter was read. `machine` is `machine.describe()` with the load averages before and
    after.
    """

    name: str
    digest: str
    model_bytes: int
    latency_ms: Mapping[str, float]
    first_ms: float
    load_ms: float
    peak_rss_mb: float | None
    overhead_ratio: float
    cpu_s_per_audio_s: float | None
    energy_mj: float | None
    power_source: str | None
    threads: int
    engine: str
    machine: Mapping[str, object]
    samples_ms: Sequence[float]


Progress = Callable[[int, int], None]


def bench(
    bundle: Bundle,
    *,
    runs: int = 300,
    threads: int | None = None,
    xnnpack: bool = True,
    delegates: Sequence[str] = (),
    verbose: bool = False,
    progress: Progress = lambda done, total: None,
) -> BenchResult:
    """Measure `bundle` over `runs` calls after a warm-up. `progress(done, total)` is called now and then.

    The engine's options are those of `open_engine`.
    """
    if runs < 1:
        raise EdgepressError(f"a measurement needs at least 1 run, not {runs}")
    if threads is None and bundle.manifest.task == "keyword-spotting":
        threads = THREADS
    load_before = load_1min()
    begin = time.perf_counter()
    engine = open_engine(bundle.model_source, threads=threads, xnnpack=xnnpack, delegates=delegates, verbose=verbose)
    with engine:
        work = workload(engine, bundle.manifest)
        loaded = time.perf_counter()
        work.call()
        first = time.perf_counter()
        calls = [work.step, work.bare] if work.call is work.step else [work.step, work.bare, work.call]
        times = in_turn(calls, runs=runs, progress=progress)
        cpu = None if work.cpu_s_per_audio_s is None else work.cpu_s_per_audio_s()
        whole = times[-1] if len(times) == 3 else times[0]
        p50, p90, p99 = (float(v) for v in np.percentile(whole, (50, 90, 99)))
        return BenchResult(
            name=bundle.manifest.name,
            digest=bundle.digest,
            model_bytes=len(bundle.model),
            latency_ms={"p50": p50, "p90": p90, "p99": p99, "mean": float(np.mean(whole)), "n": len(whole)},
            first_ms=(first - loaded) * 1e3,
            load_ms=(loaded - begin) * 1e3,
            peak_rss_mb=peak_rss_mb(),
            overhead_ratio=float(np.median(times[0]) / np.median(times[1])),
            cpu_s_per_audio_s=cpu,
            energy_mj=None,
            power_source=None,
            threads=engine.threads,
            engine=engine.name,
            machine={**describe(), "load_1min_before": load_before, "load_1min_after": load_1min()},
            samples_ms=whole,
        )


def alternate(
    classifier: Classifier,
    engine: Engine,
    pixels: np.ndarray,
    stored: np.ndarray,
    *,
    runs: int,
    progress: Progress = lambda done, total: None,
) -> tuple[list[float], list[float]]:
    """Milliseconds of `runs` calls of the classifier, and of as many calls of the bare interpreter, in turn.

    `stored` is what the classifier makes of `pixels`, so that both run the very same inference.
    """
    classify = classifier.classify
    ours, bare = in_turn([lambda: classify(pixels), bare_call(engine, stored)], runs=runs, progress=progress)
    return ours, bare


def in_turn(calls: Sequence[Call], *, runs: int, progress: Progress = lambda done, total: None) -> list[list[float]]:
    """Milliseconds of `runs` of each of `calls`, one of each in turn, after a warm-up."""
    clock = time.perf_counter
    for call in calls:
        for _ in range(WARMUP):
            call()
    times: list[list[float]] = [[] for _ in calls]
    forth = list(zip(calls, times))
    back = forth[::-1]
    collecting = gc.isenabled()
    gc.disable()
    try:
        for i in range(runs):
            # The order changes each time: whoever comes second finds warmer caches.
            for call, taken in forth if i % 2 else back:
                begin = clock()
                call()
                taken.append((clock() - begin) * 1e3)
            if i % 16 == 0:
                progress(i, runs)
    finally:
        if collecting:
            gc.enable()
    return times
