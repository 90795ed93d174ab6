"""Which of two bundles is faster on this board: both in turn, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress_runtime.bundle import Bundle
from edgepress_runtime.engine import open_engine
from edgepress_runtime.timing import Progress, in_turn, latency
from edgepress_runtime.validity import Watch, judge
from edgepress_runtime.workload import THREADS, workload

RESAMPLES = 1000
_MOST = 5000  # rounds that are resampled; more are thinned evenly


@dataclass(frozen=True)
class Comparison:
    """A bundle `name` against the one that was measured; both ran in turn.

    `ratio` is the median time of the measured bundle over that of this one: below 1 the measured one is faster. `low`
    and `high` bound it at 95 %. `latency_ms` is this bundle's, `measured_ms` that of the other in the same turns.
    """

    name: str
    digest: str
    model_bytes: int
    latency_ms: Mapping[str, float]
    measured_ms: Mapping[str, float]
    ratio: float
    low: float
    high: float
    verdict: str
    valid: bool
    reasons: Sequence[str]


def compare(
    bundle: Bundle,
    other: Bundle,
    *,
    runs: int = 300,
    seconds: float = 0.0,
    threads: int | None = None,
    progress: Progress = lambda done, total: None,
    **options: Any,
) -> Comparison:
    """Run `bundle` and `other` in turn, each as an app would. `options` are those of `open_engine`."""
    watch = Watch()
    counts = [threads or THREADS.get(each.manifest.task) for each in (bundle, other)]
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(open_engine(each.model_source, threads=count, **options))
            for each, count in zip((bundle, other), counts)
        )
        calls = [workload(first, bundle).call, workload(second, other).call]
        ours, theirs = in_turn(calls, runs=runs, seconds=seconds, progress=progress, look=watch.look)
        used = max(first.threads, second.threads)
    record = watch.end()
    ratio, low, high = ratio_of_medians(ours, theirs)
    reasons = list(dict.fromkeys(judge(ours, record, threads=used) + judge(theirs, record, threads=used)))
    return Comparison(
        name=other.manifest.name,
        digest=other.digest,
        model_bytes=len(other.model),
        latency_ms=latency(theirs),
        measured_ms=latency(ours),
        ratio=ratio,
        low=low,
        high=high,
        verdict="faster" if high < 1 else "slower" if low > 1 else "no difference is shown",
        valid=not reasons,
        reasons=reasons,
    )


def ratio_of_medians(ours: Sequence[float], theirs: Sequence[float], *, seed: int = 0) -> tuple[float, float, float]:
    """median(ours) / median(theirs) of two series taken in turn, and its 95 % interval.

    The percentile bootstrap over circular blocks of n ** (1/3) rounds, the same for both series, since neighbouring
    rounds are alike: Kuensch 1989 (Annals of Statistics 17:1217), with the length of Hall, Horowitz and Jing 1995
    (Biometrika 82:561).
    """
    pair = np.stack([np.asarray(ours, np.float64), np.asarray(theirs, np.float64)])
    ratio = float(np.median(pair[0]) / np.median(pair[1]))
    if pair.shape[1] > _MOST:
        pair = pair[:, np.linspace(0, pair.shape[1] - 1, _MOST).astype(np.intp)]
    n = pair.shape[1]
    length = int(np.ceil(n ** (1 / 3)))
    rng = np.random.default_rng(seed)
    found = np.empty(RESAMPLES)
    for i in range(RESAMPLES):
        starts = rng.integers(0, n, -(-n // length))
        rounds = (starts[:, None] + np.arange(length)).ravel()[:n] % n
        medians = np.median(pair[:, rounds], axis=1)
        found[i] = medians[0] / medians[1]
    low, high = (float(v) for v in np.percentile(found, (2.5, 97.5)))
    return ratio, low, high
