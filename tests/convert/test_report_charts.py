"""Charts judged by their geometry: where things lie is worked out from the numbers, not from the code that draws."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from edgepress_convert.report import charts
from edgepress_convert.report.charts import Dot, Series


def drawn(svg) -> ElementTree.Element:
    """The chart as XML: it must be well formed."""
    return ElementTree.fromstring(str(svg))


def of_kind(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [node for node in root.iter() if kind in (node.get("class") or "").split()]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.31, 0.84), (1, 70), (0.0663, 5.84), (120, 120), (0, 1e7), (-3, 2)]
)
def test_ticks_are_round_and_cover_the_range(low, high):
    found = charts.ticks(low, high)
    steps = np.diff(found)
    assert np.allclose(steps, steps[0])
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 8
    assert float(f"{steps[0]:.2g}") == pytest.approx(steps[0])


def test_a_line_lies_where_its_numbers_are():
    series = [Series("up", ((1, 0.25), (2, 0.5), (3, 0.75))), Series("flat", ((1, 0.5), (3, 0.5)), 1)]
    root = drawn(charts.lines(series, alt="two lines", x_label="epoch", y_label="accuracy"))
    up, flat = [[tuple(map(float, p.split(","))) for p in n.get("points").split()] for n in of_kind(root, "line")]
    (x1, y1), (x2, y2), (x3, y3) = up
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.11)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.11)  # upwards on a screen is a smaller y
    assert y1 > y3
    assert flat[0][1] == flat[1][1] == pytest.approx(y2, abs=0.11)
    assert root.get("aria-label") == "two lines"


def test_epochs_are_whole_numbers():
    root = drawn(charts.lines([Series("a", tuple((i, i) for i in range(1, 13)))], alt="a", x_label="x", y_label="y"))
    below = [n.text for n in of_kind(root, "tick") if n.get("text-anchor") == "middle"]
    assert below
    assert all(text.isdigit() for text in below)


@pytest.mark.parametrize("n", [1, 2, 300])
def test_a_histogram_counts_every_call_once(n):
    samples = np.random.default_rng(0).lognormal(-2, 1, n)
    marks = {name: float(np.percentile(samples, q)) for name, q in (("p50", 50), ("p90", 90), ("p99", 99))}
    root = drawn(charts.histogram(list(samples), marks, alt="latency", x_label="ms"))
    counts = [int(re.search(r": (\d+) calls", bar[0].text)[1]) for bar in of_kind(root, "bar")]
    assert sum(counts) == n
    assert [n.text.split()[0] for n in of_kind(root, "note")] == ["p50", "p90", "p99"]
    lines = [float(n.get("x1")) for n in of_kind(root, "mark")]
    assert lines == sorted(lines)
    assert all(50 <= x <= charts.WIDTH for x in lines)


def test_equal_latencies_are_one_bar():
    root = drawn(charts.histogram([0.5] * 20, {"p50": 0.5}, alt="latency", x_label="ms"))
    assert len(of_kind(root, "bar")) == 1


def test_the_middle_of_a_histogram_is_where_half_the_calls_are():
    samples = np.random.default_rng(1).lognormal(0, 0.3, 2001)
    root = drawn(charts.histogram(list(samples), {"p50": float(np.median(samples))}, alt="latency", x_label="ms"))
    (middle,) = [float(n.get("x1")) for n in of_kind(root, "mark")]
    left = sum(
        int(re.search(r": (\d+) calls", bar[0].text)[1]) for bar in of_kind(root, "bar") if float(bar.get("x")) < middle
    )
    assert left == pytest.approx(1000, abs=120)  # one bar's worth


def test_smaller_and_better_is_up_and_to_the_left():
    dots = [Dot("wide", 63.0, 0.79, 1), Dot("small", 25.8, 0.81)]
    root = drawn(charts.scatter(dots, alt="two models", x_label="kB", y_label="accuracy", y_format=charts.percent))
    places = {n[0].text.split(":")[0]: (float(n.get("cx")), float(n.get("cy"))) for n in of_kind(root, "dot")}
    assert places["small"][0] < places["wide"][0]
    assert places["small"][1] < places["wide"][1]


def test_labels_of_neighbours_do_not_lie_on_each_other():
    dots = [Dot(f"model {i}", 20.0 + i / 10, 0.8) for i in range(4)]
    root = drawn(charts.scatter(dots, alt="four models", x_label="kB", y_label="accuracy"))
    heights = sorted(float(n.get("y")) for n in of_kind(root, "name"))
    assert min(np.diff(heights)) >= 12


def test_columns_are_as_high_as_their_values():
    root = drawn(charts.columns(["a", "b"], [20.0, 10.0], alt="layers", x_label="layer", y_label="dB", worst=1))
    high, low = [float(n.get("height")) for n in of_kind(root, "bar")]
    assert high == pytest.approx(2 * low, rel=0.01)
    assert len(of_kind(root, "bad")) == 1


def test_names_are_text_and_never_markup():
    root = drawn(charts.columns(["<b>&"], [1.0], alt='say "x" & <y>', x_label="x", y_label="y"))
    assert root.get("aria-label") == 'say "x" & <y>'
    assert of_kind(root, "bar")[0][0].text.startswith("1. <b>&")
