"""A win is called one only in the column that was measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgepress_convert.compress import measure
from edgepress_convert.compress.gate import judge
from edgepress_convert.compress.measure import Measured, Speedup

BEFORE = Measured(
    n=100, float_top1=0.9, top1=0.9, cross_entropy=0.3, bytes=100_000, deflated_bytes=90_000, macs=10_000_000,
    arena_bytes=50_000, params=80_000, sparsity=0.0,
)  # fmt: skip


def timed(ratio: float, low: float, high: float) -> Speedup:
    return Speedup(2.0, 2.0 / ratio, ratio, low, high, 100)


def test_zeros_that_only_deflate_are_called_zip_size_only():
    after = dataclasses.replace(BEFORE, deflated_bytes=30_000, sparsity=0.8)
    verdict = judge(BEFORE, after, here=timed(1.0, 0.97, 1.03))
    assert (verdict.flash, verdict.deflated, verdict.macs, verdict.faster_here) == (False, True, False, False)
    assert verdict.sentence == (
        "zip size only: same size on the board (100.0 kB), same MACs, no faster; deflated, 90.0 became 30.0 kB"
    )


def test_a_smaller_net_wins_every_column():
    after = dataclasses.replace(BEFORE, bytes=50_000, deflated_bytes=45_000, macs=4_000_000, arena_bytes=25_000)
    verdict = judge(BEFORE, after, here=timed(1.8, 1.7, 1.9))
    assert verdict.sentence == ("smaller, smaller when deflated, fewer MACs, less memory, 1.80 times as fast here")
    assert verdict.faster_on_board is None


def test_what_costs_more_is_told_too():
    after = dataclasses.replace(BEFORE, bytes=150_000, macs=5_000_000)
    sentence = judge(BEFORE, after, here=timed(0.8, 0.75, 0.85)).sentence
    assert sentence == "fewer MACs; slower here (2 became 2.5 ms); bigger (100.0 became 150.0 kB)"


@pytest.mark.parametrize(("ratio", "low"), [(1.5, 0.99), (1.01, 1.005)])
def test_a_time_that_may_be_chance_is_no_win(ratio, low):
    verdict = judge(BEFORE, BEFORE, here=timed(ratio, low, 2.0))
    assert verdict.faster_here is False
    assert verdict.sentence == "no cheaper in anything that was measured"


def test_the_interval_covers_the_true_median_as_often_as_it_says():
    """By simulation: paired ratios of log-normal noise around 1.3."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(1000):
        ratios = 1.3 * np.exp(rng.normal(0, 0.2, 101))
        found = measure._in_turn(ratios, np.ones(101))
        inside += found.low <= 1.3 <= found.high
    assert 0.93 <= inside / 1000 <= 0.98


def test_series_that_were_not_taken_in_turn_are_compared_with_more_caution():
    rng = np.random.default_rng(0)
    before, after = 1.3 * np.exp(rng.normal(0, 0.05, 200)), np.exp(rng.normal(0, 0.05, 200))
    paired, apart = measure._in_turn(before, after), measure.between(before, after)
    assert apart.low < paired.low < 1.3 < paired.high < apart.high
    assert apart.ratio == pytest.approx(1.3, rel=0.02)


def test_a_model_against_itself_is_not_faster(made):
    found = measure.speedup(made["int8"], made["int8"], seconds=0.2)
    assert found.low <= found.ratio <= found.high
    assert found.before_ms > 0
    assert found.after_ms > 0
