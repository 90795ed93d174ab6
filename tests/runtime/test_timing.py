"""Calls in turn: how many, how long, in which order, and what is told of them."""

from __future__ import annotations

import gc
import time

import numpy as np

from edgepress_runtime.timing import WARMUP, in_turn, latency, thinned


def test_each_call_is_timed_as_often_as_asked():
    order = []
    times = in_turn([lambda: order.append("a"), lambda: order.append("b")], runs=6)
    assert [len(taken) for taken in times] == [6, 6]
    assert order[: 2 * WARMUP] == ["a"] * WARMUP + ["b"] * WARMUP
    assert "".join(order[2 * WARMUP :]) == "baabbaabbaab"
    assert gc.isenabled()


def test_milliseconds_belong_to_their_call():
    slow, fast = in_turn([lambda: time.sleep(0.003), lambda: None], runs=5)
    assert min(slow) >= 3.0
    assert np.median(fast) < np.median(slow)


def test_seconds_and_runs_are_both_kept():
    begin = time.perf_counter()
    (taken,) = in_turn([lambda: time.sleep(0.001)], runs=3, seconds=0.2)
    assert time.perf_counter() - begin >= 0.2
    assert len(taken) >= 3
    (taken,) = in_turn([lambda: time.sleep(0.001)], runs=30, seconds=0.001)
    assert len(taken) == 30


def test_looks_and_progress_come_between_the_rounds():
    looks, told = [], []
    in_turn([lambda: time.sleep(0.03)], runs=12, look=lambda: looks.append(1), progress=lambda *at: told.append(at))
    assert 1 <= len(looks) <= 12
    assert all(0 < done < 12 and total == 12 for done, total in told)
    told.clear()
    in_turn([lambda: time.sleep(0.01)], seconds=0.4, progress=lambda *at: told.append(at))
    assert told and {total for _, total in told} == {0}  # whole seconds


def test_garbage_is_collected_again_after_a_failure():
    def fail() -> None:
        if not gc.isenabled():
            raise ValueError

    try:
        in_turn([fail])
    except ValueError:
        pass
    assert gc.isenabled()


def test_latency_is_numpy_s():
    times = list(np.random.default_rng(0).exponential(1, 999))
    told = latency(times)
    assert told["n"] == 999 and told["mean"] == np.mean(times)
    assert [told[k] for k in ("p50", "p90", "p99")] == [np.quantile(times, q) for q in (0.5, 0.9, 0.99)]


def test_long_series_are_thinned_evenly():
    assert thinned([3.0, 1.0, 2.0]) == [3.0, 1.0, 2.0]
    found = thinned(np.arange(100_000.0), most=11)
    assert found == [0, 9999, 19999, 29999, 39999, 49999, 59999, 69999, 79999, 89999, 99999]
