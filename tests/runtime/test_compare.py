"""Two bundles against each other, and one with several counts of threads."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.compare import compare, ratio_of_medians
from edgepress_runtime.sweep import sweep


def test_the_interval_covers_the_truth_as_often_as_it_says():
    covered = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        weather = np.repeat(rng.uniform(1, 1.3, 20), 20)  # what both meet, for twenty rounds at a time
        ours = 1.1 * weather * rng.lognormal(0, 0.05, 400)
        theirs = weather * rng.lognormal(0, 0.05, 400)
        ratio, low, high = ratio_of_medians(ours, theirs)
        assert low <= ratio <= high
        covered += low <= 1.1 <= high
    assert covered >= 26  # of 28.5 to be expected, and the seeds are fixed


def test_neighbouring_rounds_that_are_alike_tell_less_than_as_many_apart():
    rng = np.random.default_rng(0)
    ours = np.repeat(rng.lognormal(0, 0.1, 40), 10)  # somebody else's work slows one of the two for ten rounds
    theirs = rng.lognormal(0, 0.01, 400)
    _, low, high = ratio_of_medians(ours, theirs)
    _, apart_low, apart_high = ratio_of_medians(rng.permutation(ours), theirs)
    assert high - low > 1.5 * (apart_high - apart_low)


def test_a_ratio_of_constants_is_certain():
    assert ratio_of_medians([2.0] * 50, [4.0] * 50) == (0.5, 0.5, 0.5)


def test_long_series_are_resampled_thinned():
    rng = np.random.default_rng(0)
    ratio, low, high = ratio_of_medians(rng.normal(10, 1, 20_000), rng.normal(5, 1, 20_000))
    assert low <= ratio <= high and high - low < 0.1 and ratio == pytest.approx(2, abs=0.05)


def test_two_bundles_in_turn(make_bundle):
    one, two = (open_bundle(make_bundle(kind, file=f"{kind}.edge", name=kind)) for kind in ("int8", "float32"))
    found = compare(one, two, runs=30, threads=1)
    assert (found.name, found.digest, found.model_bytes) == ("float32", two.digest, len(two.model))
    assert found.latency_ms["n"] == found.measured_ms["n"] == 30
    assert found.ratio == pytest.approx(found.measured_ms["p50"] / found.latency_ms["p50"])
    assert found.low <= found.ratio <= found.high
    assert found.verdict in ("faster", "slower", "no difference is shown")
    assert not found.valid and "too short: 30 calls, and p99 needs at least 100" in found.reasons


def test_a_sweep_of_threads(make_bundle):
    rows = sweep(open_bundle(make_bundle()), (1, 2), runs=20)
    assert [row.threads for row in rows] == [1, 2]
    assert rows[0].speedup == 1.0
    assert rows[1].speedup == pytest.approx(rows[0].latency_ms["p50"] / rows[1].latency_ms["p50"])
    assert all(row.latency_ms["n"] == 20 and not row.valid for row in rows)
