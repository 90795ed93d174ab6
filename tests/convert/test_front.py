"""Pareto fronts and budgets, against a brute-force search for counterexamples."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgepress_convert.search.front import Limits, Point, best, dominates, front


def point(number: int, top1: float, size: int, ms: float) -> Point:
    return Point(number, f"r{number}", top1, size, size, 1000 * size, ms)


points = st.lists(
    st.tuples(st.integers(0, 5).map(lambda n: n / 5), st.integers(1, 5), st.integers(1, 5).map(float)), max_size=12
).map(lambda rows: [point(n, *row) for n, row in enumerate(rows)])


@given(points)
def test_the_front_has_nothing_beaten_and_beats_all_the_rest(all_points):
    kept = front(all_points)
    for a in kept:
        assert not any(dominates(b, a) for b in all_points)
    for b in all_points:
        assert b in kept or any(dominates(a, b) for a in kept)
    assert [p.bytes for p in kept] == sorted(p.bytes for p in kept)


@given(points, st.integers(1, 5), st.integers(1, 5))
def test_the_best_is_within_the_limits_and_nothing_allowed_is_better(all_points, size, ms):
    limits = Limits(size, float(ms), 40.0)
    chosen = best(all_points, limits, 1.0)
    allowed = [p for p in all_points if p.bytes <= size and p.latency_ms <= ms and p.top1 >= 0.6]
    assert (chosen is None) == (not allowed)
    if chosen is not None:
        assert chosen in allowed
        assert chosen.top1 == max(p.top1 for p in allowed)


def test_a_margin_asks_for_more():
    a, b = point(0, 0.82, 1, 1.0), point(1, 0.80, 1, 1.0)
    assert dominates(a, b)
    assert dominates(a, b, margin=0.015)
    assert not dominates(a, b, margin=0.03)
    assert not dominates(a, a)


def test_no_limits_allow_everything():
    assert best([point(0, 0.1, 9, 9.0)], Limits(), 1.0) is not None
    assert best([], Limits(), 1.0) is None
