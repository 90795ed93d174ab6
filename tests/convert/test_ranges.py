"""Ranges against NumPy on the very numbers of a net: percentiles, and the least squared error by brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.convert.conftest import convert_here
from tests.convert.taught import job as make_job

from edgepress_convert import activation_ranges, planned, quantize, verify
from edgepress_convert.activation_ranges import Method
from edgepress_convert.compress import recipe
from edgepress_convert.compress.ranges import check, ranges
from edgepress_convert.examples import Examples
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras

RNG = np.random.default_rng(0)


def seen(values: np.ndarray) -> activation_ranges.Seen:
    """What `observe` makes of these values."""
    values = values.astype(np.float32)
    counts = np.bincount(values.view(np.uint32) >> 17, minlength=1 << 15)
    return activation_ranges._seen(counts, float(values.min()), float(values.max()))


def stored(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`values` through 256 steps from `low` to `high`, one of which is zero (Nagel et al. 2021, equations 4 to 7)."""
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(values / scale) + zero, 0, 255) - zero) * scale


def squared(values: np.ndarray, low: float, high: float) -> float:
    return float(((values - stored(values, low, high)) ** 2).mean())


def with_outlier(count: int, times: float) -> np.ndarray:
    values = RNG.normal(size=count)
    values[count // 2] = times * np.abs(values).max()
    return values


DISTRIBUTIONS = {
    "normal": RNG.normal(size=20_000),
    "rectified": np.maximum(RNG.normal(size=20_000), 0),
    "heavy tails": RNG.standard_t(2.5, size=20_000),
    "rectified heavy tails": np.maximum(RNG.laplace(size=20_000), 0) ** 2,
    "mostly tiny": np.where(RNG.random(20_000) < 0.95, RNG.normal(size=20_000) * 1e-3, RNG.normal(size=20_000)),
    "negative": -np.abs(RNG.normal(size=20_000)),
    "off centre": RNG.normal(3, 1, size=20_000),
    "constant zero": np.zeros(100),
}


@pytest.mark.parametrize("name", [n for n in DISTRIBUTIONS if n != "constant zero"])
def test_least_squared_error_by_brute_force(name: str) -> None:
    values = DISTRIBUTIONS[name]
    low, high = activation_ranges.range_of(seen(values), Method("mse"))
    assert low <= 0 <= high
    first, last = min(values.min(), 0), max(values.max(), 0)
    grid = [
        squared(values, a * first, b * last)
        for a in (np.linspace(0.04, 1, 25) if first else [0])
        for b in (np.linspace(0.04, 1, 25) if last else [0])
    ]
    assert squared(values, low, high) <= 1.06 * min(grid)  # a grid finds lucky roundings, too


@pytest.mark.parametrize("percent", [99.0, 99.9, 99.99])
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_percentiles_are_those_of_numpy(name: str, percent: float) -> None:
    values = DISTRIBUTIONS[name].astype(np.float32)
    low, high = activation_ranges.range_of(seen(values), Method("percentile", percent))
    assert low <= 0 <= high
    # A bin is 1/64 of its value wide: no more lie beyond an end than asked for, and almost as many
    share, one = (100 - percent) / 100, 2 / len(values)
    assert (values > high * (1 + 1 / 64)).mean() <= share + one
    assert (values < low * (1 + 1 / 64)).mean() <= share + one
    assert high == 0 or (values > high * (1 - 1 / 64)).mean() >= share - one
    assert low == 0 or (values < low * (1 - 1 / 64)).mean() >= share - one


def test_min_max_holds_everything_and_zero() -> None:
    assert activation_ranges.range_of(seen(np.array([2.0, 3.5])), Method("min-max")) == (0.0, 3.5)
    assert activation_ranges.range_of(seen(np.array([-2.0, -3.5])), Method("min-max")) == (-3.5, 0.0)
    assert 0.0 in seen(np.array([-1.0, 0.0, 1.0])).values  # what a ReLU gives is counted as it is


def test_an_outlier_gives_way_where_it_is_rare_enough() -> None:
    """At 8 bits one value pays for the steps of 255^2 * 12 others, so min-max is right for less than that."""
    rare, common = with_outlier(3_000_000, 10.0), with_outlier(10_000, 10.0)
    low, high = activation_ranges.range_of(seen(rare), Method("mse"))
    assert high < 0.45 * rare.max()
    assert squared(rare, low, high) < 0.5 * squared(rare, rare.min(), rare.max())
    assert activation_ranges.range_of(seen(common), Method("mse"))[1] > 0.95 * common.max()
    assert activation_ranges.range_of(seen(common), Method("percentile", 99.9))[1] < 0.1 * common.max()


@pytest.fixture(scope="module")
def spiky() -> tuple[keras.Model, np.ndarray]:
    """A net and examples: inside, one value in 16,000 is 50 times the others, in a channel that the head ignores."""
    inputs = keras.Input((10, 10, 4))
    x = keras.layers.Conv2D(4, 1, activation="relu", name="spiky")(inputs)
    outputs = keras.layers.Dense(3, name="head")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(2)
    examples = rng.uniform(0, 0.9, (40, 10, 10, 4)).astype(np.float32)
    examples[25, 5, 5, 3] = 1.0
    kernel = np.eye(4, dtype=np.float32)
    kernel[3, 3] = 500.0
    model.get_layer("spiky").set_weights([kernel[None, None], np.array([0, 0, 0, -450], np.float32)])
    head = rng.normal(size=(4, 3)).astype(np.float32)
    head[3] = 0
    model.get_layer("head").set_weights([head, np.zeros(3, np.float32)])
    return model, examples


def output_error(model: keras.Model, built: bytes, examples: np.ndarray) -> float:
    found = verify.scores(built, Examples(examples, lambda part: part, None, "examples"))
    return float(((found - model.predict(examples, verbose=0)) ** 2).mean())


def test_observe_sees_what_keras_computes(spiky) -> None:
    model, examples = spiky
    found = activation_ranges.observe(convert_here(model, ("float32",))["float32"], examples)
    assert len(found) == 4  # input, convolution, mean, scores
    inside = keras.Model(model.inputs, model.get_layer("spiky").output).predict(examples, verbose=0)
    (one,) = (seen for name, seen in found.items() if "spiky" in name)
    assert one.counts.sum() == inside.size
    assert (one.low, one.high) == (inside.min(), pytest.approx(inside.max(), rel=1e-6))
    for percent in (50, 75, 90, 99.9):
        assert activation_ranges._percentile(one, percent) == pytest.approx(np.percentile(inside, percent), rel=0.02)


def test_a_rare_outlier_ruins_min_max_and_not_a_percentile(spiky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "convert", convert_here)
    model, examples = spiky
    plans = [Plan(ranges=how) for how in ("min-max", "percentile:99.9")]
    wide, narrow = (output_error(model, quantize.from_plan(model, plan, examples), examples) for plan in plans)
    # Steps of 50 / 255 instead of 0.9 / 255, which the mean over 100 places makes a little less bad
    assert narrow < wide / 20


def test_the_input_keeps_its_range(spiky, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "convert", convert_here)
    prepared = planned.prepare(*spiky, layers=False)
    graph = prepared.graph
    for how in ("min-max", "mse", "percentile:99"):
        chosen = planned.ranges_of(prepared, Plan(ranges=how))
        assert chosen[graph.tensors[graph.inputs[0]].name] == (0.0, 1.0)
        inside = chosen[graph.tensors[graph.ops[0].outputs[0]].name]
        assert (inside[1] < 1) == (how == "percentile:99")


def test_numbers_that_overflow_are_named() -> None:
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Activation("exponential", name="rocket")(inputs))
    data = convert_here(model, ("float32",))["float32"]
    with pytest.raises(EdgepressError, match="overflows: it gives inf to inf"):
        activation_ranges.observe(data, np.full((1, 4), 1e3, np.float32))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("percentil:99", "unknown choice of ranges 'percentil:99'; did you mean 'percentile'?"),
        ("percentile", "ranges 'percentile' lack a percentage"),
        ("percentile:high", "ranges 'percentile:high' lack a percentage"),
        ("percentile:40", "a percentile of 40 is not above 50 and at most 100"),
        ("mse:3", "mse ranges take no value, not '3'"),
    ],
)
def test_what_cannot_be_a_choice_of_ranges(text: str, sentence: str) -> None:
    with pytest.raises(EdgepressError) as caught:
        activation_ranges.parse(text)
    assert caught.value.what == sentence


@pytest.mark.parametrize("text", ["min-max", "mse", "percentile:99.9"])
def test_a_choice_of_ranges_is_read_as_written(text: str) -> None:
    assert str(activation_ranges.parse(text)) == text


@pytest.mark.parametrize(
    ("step", "chosen"),
    [
        ("ranges", "mse"),
        ("ranges:min-max", "min-max"),
        ("ranges:percentile", "percentile:99.99"),
        ("ranges:percentile:percent=99.5", "percentile:99.5"),
        ("ranges:method=percentile:percent=99", "percentile:99"),
    ],
)
def test_the_pass_changes_the_plan_alone(step: str, chosen: str, tmp_path: Path) -> None:
    (bound,) = recipe.bind(recipe.read(step))
    before = Plan(weights="per-tensor-dense", keep={"head": "int16x8"})
    job = make_job(tmp_path, np.zeros((4, 3), np.float32), np.zeros(4, np.int64), plan=before)
    assert bound.function(None, job, **bound.options) == Plan("int8", "per-tensor-dense", chosen, before.keep)


def test_the_pass_refuses_before_anything_is_done(tmp_path: Path) -> None:
    job = make_job(tmp_path, np.zeros((4, 3), np.float32), np.zeros(4, np.int64), plan=Plan("float16"))
    with pytest.raises(EdgepressError, match="the model is to be stored as float16, whose ranges are not chosen"):
        check(None, job)
    with pytest.raises(EdgepressError, match="did you mean 'percentile'"):
        ranges(None, job, method="percentle")
