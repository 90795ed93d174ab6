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
from edgepress_runtime.image import lookup
from edgepress_runtime.machine import describe, load_1min, peak_rss_mb

WARMUP = 10


@dataclass(frozen=True)
class BenchResult:
    """One measurement; the fields are the keys of `bench --json`. Times in milliseconds, memory in MB of 10^6 bytes.

    `latency_ms` (p50, p90, p99, mean, n) is a whole call: pixels at the model's size to label and score. `load_ms`
    goes from the verified bundle to a model that is ready, `first_ms` is the first call. `overhead_ratio` compares the
    medians of that call and of the engine alone (set, invoke, get), taken alternately. `energy_mj` and `power_source`
    are None: no meter was read. `machine` is `machine.describe()` with the load averages before and after.
    """

    name: str
    digest: str
    model_bytes: int
    latency_ms: Mapping[str, float]
    first_ms: float
    load_ms: float
    peak_rss_mb: float | None
    overhead_ratio: float
    energy_mj: float | None
    power_source: str | None
    threads: int
    engine: str
    machine: Mapping[str, object]
    samples_ms: Sequence[float]


def bench(
    bundle: Bundle,
    *,
    runs: int = 300,
    threads: int | None = None,
    xnnpack: bool = True,
    delegates: Sequence[str] = (),
    verbose: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BenchResult:
    """Measure `bundle` over `runs` calls after a warm-up. `progress(done, total)` is called now and then.

    The engine's options are those of `open_engine`.
    """
    if runs < 1:
        raise EdgepressError(f"a measurement needs at least 1 run, not {runs}")
    spec = bundle.manifest.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, spec.channels), np.uint8)
    load_before = load_1min()
    begin = time.perf_counter()
    engine = open_engine(bundle.model_source, threads=threads, xnnpack=xnnpack, delegates=delegates, verbose=verbose)
    with engine:
        classifier = Classifier(engine, bundle.manifest)
        loaded = time.perf_counter()
        classifier.classify(pixels)
        first = time.perf_counter()
        stored = lookup(spec, engine.inputs[0])[pixels, np.arange(spec.channels)][np.newaxis]
        ours, bare = alternate(classifier, engine, pixels, stored, runs=runs, progress=progress)
        p50, p90, p99 = (float(v) for v in np.percentile(ours, (50, 90, 99)))
        return BenchResult(
            name=bundle.manifest.name,
            digest=bundle.digest,
            model_bytes=len(bundle.model),
            latency_ms={"p50": p50, "p90": p90, "p99": p99, "mean": float(np.mean(ours)), "n": len(ours)},
            first_ms=(first - loaded) * 1e3,
            load_ms=(loaded - begin) * 1e3,
            peak_rss_mb=peak_rss_mb(),
            overhead_ratio=p50 / float(np.median(bare)),
            energy_mj=None,
            power_source=None,
            threads=engine.threads,
            engine=engine.name,
            machine={**describe(), "load_1min_before": load_before, "load_1min_after": load_1min()},
            samples_ms=ours,
        )


def alternate(
    classifier: Classifier,
    engine: Engine,
    pixels: np.ndarray,
    stored: np.ndarray,
    *,
    runs: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[float], list[float]]:
    """Milliseconds of `runs` calls of the classifier, and of as many calls of the bare interpreter, in turn.

    `stored` is what the classifier makes of `pixels`, so that both run the very same inference.
    """
    interpreter, source, target = engine.interpreter, engine.input_indices[0], engine.output_indices[0]
    classify, clock = classifier.classify, time.perf_counter
    for _ in range(WARMUP):
        classify(pixels)
    ours, bare = [], []

    def call_ours() -> None:
        begin = clock()
        classify(pixels)
        ours.append((clock() - begin) * 1e3)

    def call_bare() -> None:
        begin = clock()
        interpreter.set_tensor(source, stored)
        interpreter.invoke()
        interpreter.get_tensor(target)
        bare.append((clock() - begin) * 1e3)

    collecting = gc.isenabled()
    gc.disable()
    try:
        for i in range(runs):
            # The order changes each time: whoever comes second finds warmer caches.
            for call in (call_ours, call_bare) if i % 2 else (call_bare, call_ours):
                call()
            if i % 16 == 0:
                progress(i, runs)
    finally:
        if collecting:
            gc.enable()
    return ours, bare
