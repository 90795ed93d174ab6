"""How long a model takes on this machine, end to end, and how much of that is this runtime's own doing."""

from __future__ import annotations

import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from edgepress_runtime.bundle import Bundle
from edgepress_runtime.classify import Classifier
from edgepress_runtime.conditions import told
from edgepress_runtime.engine import Engine, open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.machine import describe, load_1min, peak_rss_mb
from edgepress_runtime.meters.energy import Energy, unknown
from edgepress_runtime.meters.reading import Silent
from edgepress_runtime.timing import Progress, in_turn, latency, thinned
from edgepress_runtime.validity import Record, Watch, judge
from edgepress_runtime.workload import THREADS, Call, bare_call, workload


@dataclass(frozen=True)
class BenchResult:
    """One measurement; the fields are the keys of `bench --json`. Times in milliseconds, memory in MB of 10^6 bytes.

    `latency_ms` (p50, p90, p99, mean, n) is a whole call: pixels at the model's size to label and score, the new
    sound of one step to its scores, or a text to its label. `load_ms` goes from the verified bundle to a model that is
    ready, `first_ms` is the first call. `overhead_ratio` compares the medians of that call, for sound without the front
    end and for text without its cutting into pieces, and of the engine alone (set, invoke, get, a stream's states
    carried over), taken alternately. `cpu_s_per_audio_s` is the processor time of the whole path from samples to
    decisions over a minute of noise, None for others. `engine_ms` is the engine alone.

    `energy_mj` is what one call takes over idle and `power_source` the meter that told it, both None where none did;
    `energy` says how it was found, or why it was not. `valid` is whether the figures may be believed, `reasons` why
    not, and `conditions` what the machine told `before`, `during` and `after`. `machine` is `machine.describe()` with
    the load averages before and after. `samples_ms` are all whole calls in order, or 10,000 of them, evenly taken.
    `sweep` and `against` are there when they were asked for: rows of `sweep.sweep`, a `compare.Comparison`.
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
    engine_ms: Mapping[str, float]
    valid: bool
    reasons: Sequence[str]
    conditions: Mapping[str, object]
    energy: Energy
    sweep: Sequence[Any] | None = None
    against: Any = None


def _no_meter(call: Call) -> Energy:
    return unknown(Silent("none", "no meter was asked"))


def bench(
    bundle: Bundle,
    *,
    runs: int = 300,
    seconds: float = 0.0,
    threads: int | None = None,
    xnnpack: bool = True,
    delegates: Sequence[str] = (),
    verbose: bool = False,
    energy: Callable[[Call], Energy] = _no_meter,
    progress: Progress = lambda done, total: None,
) -> BenchResult:
    """Measure `bundle` over at least `runs` calls and `seconds`, after a warm-up. `progress` is that of `in_turn`.

    The engine's options are those of `open_engine`. `energy` is called with what an app does, after it was timed.
    """
    if runs < 1:
        raise EdgepressError(f"a measurement needs at least 1 run, not {runs}")
    threads = THREADS.get(bundle.manifest.task) if threads is None else threads
    watch = Watch()
    load_before = load_1min()
    begin = time.perf_counter()
    engine = open_engine(bundle.model_source, threads=threads, xnnpack=xnnpack, delegates=delegates, verbose=verbose)
    with engine:
        work = workload(engine, bundle)
        loaded = time.perf_counter()
        work.call()
        first = time.perf_counter()
        calls = [work.step, work.bare] if work.call is work.step else [work.step, work.bare, work.call]
        times = in_turn(calls, runs=runs, seconds=seconds, progress=progress, look=watch.look)
        record = watch.end()
        cpu = None if work.cpu_s_per_audio_s is None else work.cpu_s_per_audio_s()
        whole = times[-1] if len(times) == 3 else times[0]
        reasons = judge(whole, record, threads=engine.threads)
        peak = peak_rss_mb()
        used = energy(work.call)
        return BenchResult(
            name=bundle.manifest.name,
            digest=bundle.digest,
            model_bytes=len(bundle.model),
            latency_ms=latency(whole),
            first_ms=(first - loaded) * 1e3,
            load_ms=(loaded - begin) * 1e3,
            peak_rss_mb=peak,
            overhead_ratio=float(np.median(times[0]) / np.median(times[1])),
            cpu_s_per_audio_s=cpu,
            energy_mj=used.mj,
            power_source=None if used.mj is None else used.source,
            threads=engine.threads,
            engine=engine.name,
            machine={**describe(), "load_1min_before": load_before, "load_1min_after": load_1min()},
            samples_ms=thinned(whole),
            engine_ms=latency(times[1]),
            valid=not reasons,
            reasons=reasons,
            conditions=_told(record),
            energy=used,
        )


def _told(record: Record) -> Mapping[str, object]:
    looks = {"before": told(record.before), "during": [told(c) for c in record.during], "after": told(record.after)}
    return {**looks, "others_cores": record.others_cores}


def alternate(
    classifier: Classifier,
    engine: Engine,
    pixels: np.ndarray,
    stored: np.ndarray,
    *,
    runs: int,
    progress: Progress = lambda done, total: None,
) -> tuple[array[float], array[float]]:
    """Milliseconds of `runs` calls of the classifier, and of as many calls of the bare interpreter, in turn.

    `stored` is what the classifier makes of `pixels`, so that both run the very same inference.
    """
    classify = classifier.classify
    ours, bare = in_turn([lambda: classify(pixels), bare_call(engine, stored)], runs=runs, progress=progress)
    return ours, bare
