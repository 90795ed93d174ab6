"""The doctor on nets that were made ill: found, mended by what the evidence suggests, and told; a healthy one left."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tests.convert.conftest import LABELS, SPEC, convert_here, pictures

from edgepress_convert import quantize, verify
from edgepress_convert.compress import Candidate, mend
from edgepress_convert.compress.diagnosis import Health
from edgepress_convert.compress.equalize import equalize
from edgepress_convert.compress.job import Job
from edgepress_convert.compress.mend import Mended, Remedy, State, treat
from edgepress_convert.examples import Examples
from edgepress_convert.flatbuffer import graphs
from edgepress_convert.multipliers import deadly
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import normalize
from edgepress_runtime.manifest import ImageSpec
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons
from edgepress_train.spec import Step

layers = keras.layers
SHAPE = (12, 12, 3)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(quantize, "convert", convert_here)


@pytest.fixture(scope="module")
def data() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    def part(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, labels = pictures(n, seed)
        return normalize(pixels, SPEC), labels

    return {"train": part(240, 1), "val": part(90, 2)}


@pytest.fixture
def job(data, tmp_path: Path) -> tuple[Job, list[str]]:
    inputs, labels = data["train"]
    targets = np.eye(3, dtype=np.float32)

    def train(*, batch: int, seed: int, start: int, stop: int) -> tf.data.Dataset:
        index = np.random.default_rng(seed).integers(0, len(inputs), (stop - start) * batch)
        rows = (inputs[index], targets[labels[index]], np.ones(len(index), np.float32))
        return tf.data.Dataset.from_tensor_slices(rows).batch(batch)

    held, known = data["val"]
    val = tf.data.Dataset.from_tensor_slices((held, targets[known], np.ones(len(held), np.float32))).batch(64)
    lessons = Lessons(LABELS, ImageSpec(12, 12, 3, SPEC.mean, SPEC.std), len(inputs), train, val, known)
    notes: list[str] = []
    return Job(lessons, inputs[:36], None, tmp_path, note=notes.append), notes


def solved(model, data):
    """`model`, whose layer `head` is given the least-squares solution, so that it answers right without training."""
    inputs, labels = data["train"]
    head = model.get_layer("head")
    seen = np.asarray(keras.Model(model.inputs, head.input)(inputs))
    table = np.concatenate([seen, np.ones((len(seen), 1))], axis=1)
    table = np.linalg.lstsq(table, 8.0 * np.eye(3)[labels], rcond=1e-6)[0].astype(np.float32)
    head.set_weights([table[:-1], table[-1]])
    return model


def separable(data):
    """conv, ReLU, depthwise, ReLU, pointwise, ReLU, mean, dense: healthy."""
    keras.utils.set_random_seed(4)
    given = keras.Input(SHAPE)
    y = layers.Conv2D(8, 3, strides=2, use_bias=False, name="stem")(given)
    y = layers.ReLU()(layers.BatchNormalization(name="norm")(y))
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="deep")(y)
    y = layers.Conv2D(8, 1, activation="relu", name="point")(y)
    y = layers.GlobalAveragePooling2D()(y)
    return solved(keras.Model(given, layers.Dense(3, activation="softmax", name="head")(y)), data)


def broken(model, decades: float = 3.0):
    """The same function, with some channels a thousand times others: divided in one layer, multiplied in the next."""
    factors = np.float32(10.0) ** (decades * np.array([0.5, -0.5, 0.5, -0.5, -0.5, -0.5, -0.5, -0.5], np.float32))
    ill = keras.models.clone_model(model)
    ill.set_weights(model.get_weights())
    gamma, beta, *moments = ill.get_layer("norm").get_weights()
    ill.get_layer("norm").set_weights([gamma * factors, beta * factors, *moments])
    kernel, bias = ill.get_layer("deep").get_weights()
    other = np.roll(factors, 3)
    ill.get_layer("deep").set_weights([kernel * (other / factors)[:, np.newaxis], bias * other])
    kernel, bias = ill.get_layer("point").get_weights()
    ill.get_layer("point").set_weights([kernel / other[:, np.newaxis], bias])
    return ill


def top1(candidate: Candidate, job: Job, data) -> float:
    """What share of the validation examples LiteRT answers right, by a conversion of its own."""
    model = quantize.from_plan(candidate.model, candidate.plan, job.representative)
    held, labels = data["val"]
    found = verify.scores(model, Examples(held, lambda part: part, labels, "pictures"))
    return float((found.argmax(axis=1) == labels).mean())


def kept(done: Mended) -> list[str]:
    return [treatment.remedy for treatment in done.account if treatment.kept]


@pytest.mark.parametrize("weights", ["per-channel", "per-tensor"])
def test_uneven_channels_are_found_and_evened_out(weights: str, data, job):
    work = replace(job[0], plan=Plan(weights=weights))
    well = separable(data)
    ill = broken(well)
    answers = [model.predict(data["val"][0], verbose=0) for model in (well, ill)]
    np.testing.assert_allclose(*answers, atol=1e-4)
    assert top1(Candidate(ill, work.plan), work, data) < 0.6

    done = treat(ill, work, max_drop=2.0, epochs=0)

    assert kept(done) == ["equalize"]
    assert "times as large" in done.account[0].evidence
    assert done.start.float_top1 > 0.85 and done.start.drop_points > 25 and done.end.drop_points <= 2.0
    assert top1(done.candidate, work, data) > 0.85
    assert done.verdict.startswith("mended by equalize: int8 lost")
    again = equalize(ill, work)  # what the account says can be done by hand
    for one, other in zip(again.get_weights(), done.candidate.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_healthy_net_is_left_as_it_is(data, job):
    work, notes = job
    model = separable(data)
    before = [w.copy() for w in model.get_weights()]
    made = mend.mend(model, work, max_drop=2.0)
    assert made.model is model and made.plan is work.plan
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert len(notes) == 1 and notes[0].startswith("mend left the model as it is: int8 loses")


def two_branches(data, apart: float = 300.0):
    """What matters is small and beside what is large: a Concatenate has one scale for both, and a SiLU lets no factor
    through."""
    keras.utils.set_random_seed(6)
    given = keras.Input(SHAPE)
    small = layers.Conv2D(8, 1, activation="swish", name="small")
    large = layers.Conv2D(4, 3, padding="same", activation="swish", name="large")
    both = layers.Concatenate(name="both")([small(given), large(given)])
    y = layers.Conv2D(8, 1, activation="swish", name="mix")(both)
    out = layers.Dense(3, activation="softmax", name="head")(layers.GlobalAveragePooling2D(name="mean")(y))
    model = keras.Model(given, out)
    small.set_weights([w / apart * 10 for w in small.get_weights()])
    large.set_weights([w * 10 for w in large.get_weights()])
    kernel, bias = model.get_layer("mix").get_weights()
    kernel[:, :, :8] *= apart / 10
    kernel[:, :, 8:] *= 0.01
    model.get_layer("mix").set_weights([kernel, bias])
    return solved(model, data)


@pytest.mark.slow
def test_a_silu_net_is_mended_by_keeping_what_meets(data, job):
    work, notes = job
    ill = two_branches(data)

    made = mend.mend(ill, work, max_drop=2.0, epochs=0)

    assert "both" in made.plan.keep and set(made.plan.keep.values()) == {"int16x8"}
    assert top1(Candidate(ill), work, data) < 0.6 < 0.85 < top1(made, work, data)
    assert notes[-1].startswith("mended by mixed")
    tried = [note.split(" (")[0] for note in notes]
    assert tried.index("equalize") < tried.index("mixed:4:max_drop=2.0")


def test_biases_are_corrected_for_the_rounding_that_stays(data, job, monkeypatch: pytest.MonkeyPatch):
    """What follows a correction starts from the biases before it."""
    chosen = [one for one in mend.remedies(40.0, 0) if one.step.name in ("correct-bias", "mixed")]
    monkeypatch.setattr(mend, "remedies", lambda max_drop, epochs: chosen)
    ill = two_branches(data)
    done = treat(ill, job[0], max_drop=40.0, epochs=0)
    first, second = done.account
    assert (first.remedy, first.kept, first.problem) == ("correct-bias", False, f"undone for {second.remedy}")
    assert second.kept and done.candidate.model is ill and done.candidate.plan.keep


def test_a_net_that_would_take_the_process_with_it_is_mended_or_told(data, job, monkeypatch: pytest.MonkeyPatch):
    """XNNPACK has no multiplier of 256: LiteRT 2.3 aborts when it loads such a model."""
    work, notes = job
    ill = broken(separable(data), decades=8)
    assert deadly(graphs(quantize.from_plan(ill, work.plan, work.representative))[0])
    made = mend.mend(ill, work, max_drop=2.0, epochs=0)
    assert not deadly(graphs(quantize.from_plan(made.model, made.plan, work.representative))[0])
    assert top1(made, work, data) > 0.85 and notes[-1].startswith("mended by equalize")

    monkeypatch.setattr(mend, "remedies", lambda max_drop, epochs: [Remedy(Step("mixed"), 1, mend._losing)])
    done = treat(two_branches(data, apart=1e6), work, max_drop=2.0, epochs=0)
    assert done.account[0].after is None  # it runs LiteRT
    assert "makes LiteRT abort" in done.verdict and done.verdict.startswith("not mended")


def test_what_cannot_be_mended_is_told_with_the_layer_and_the_loss(data, job, monkeypatch: pytest.MonkeyPatch):
    work, notes = job
    monkeypatch.setattr(mend, "remedies", lambda max_drop, epochs: [Remedy(Step("ranges", "mse"), 0, mend._outliers)])
    ill = two_branches(data)
    made = mend.mend(ill, work, max_drop=2.0)
    assert made.model is ill
    assert notes[0].startswith("ranges:mse (no evidence for it, but cheap): ")
    assert re.fullmatch(
        r"not mended: int8 lost [\d.]+ points \([\d.]+ % became [\d.]+ %\), and still loses [\d.]+ \(allowed: 2\).*; "
        r"the signal falls most in small \(MUL\), from \d+ to \d+ dB",
        notes[1],
    )


def test_a_remedy_that_cannot_be_given_is_told_and_passed_over(data, job, monkeypatch: pytest.MonkeyPatch):
    swish = Remedy(Step("equalize"), 0, mend._uneven)
    monkeypatch.setattr(mend, "remedies", lambda max_drop, epochs: [swish])
    done = treat(two_branches(data), job[0], max_drop=2.0, epochs=0)
    (treatment,) = done.account
    assert treatment.after is None and not treatment.kept
    assert "no channel of the model can be equalized: small must keep its range" in mend.told(treatment)


def state(right: int, cross_entropy: float, n: int = 400) -> State:
    answers = np.arange(n) < right
    one = Health(n, 0.9, right / n, 100 * (0.9 - right / n), 1.0, cross_entropy, 0.3)
    return State(Candidate(None), b"", answers, one)


@pytest.mark.parametrize(
    ("after", "wanted", "why"),
    [
        (state(300, 0.9), True, "many more are right"),
        (state(200, 0.4), False, "many fewer are right, whatever the cross-entropy"),
        (state(241, 0.8), False, "one more is right: chance, and the scores are no better"),
        (state(241, 0.7), True, "chance, but a fifth of the cost is gone"),
        (state(240, 0.7), True, "as many are right, and a fifth of the cost is gone"),
        (state(240, 0.79), False, "a fiftieth of the cost is no help"),
        (state(239, 0.7), False, "never fewer"),
    ],
)
def test_only_what_helped_is_kept(after: State, wanted: bool, why: str):
    assert mend.helped(state(240, 0.8), after, 0.5) is wanted, why


def test_a_net_that_would_end_the_process_is_never_better():
    fine, fatal = state(100, 2.0), state(390, 0.1)
    fatal = replace(fatal, health=replace(fatal.health, deadly="mix"))
    assert mend.helped(fatal, fine, 0.5) and not mend.helped(fine, fatal, 0.5)


def test_getting_within_the_budget_is_a_help():
    assert mend.helped(state(357, 0.31), state(358, 0.31), 0.55)
    assert not mend.helped(state(357, 0.31), state(358, 0.31), 0.1)


def test_it_says_beforehand_what_it_lacks(job):
    work, _ = job
    model = keras.Sequential([layers.Dense(3, input_shape=(4,))])
    with pytest.raises(EdgepressError, match="there are none"):
        mend.check(model, replace(work, lessons=replace(work.lessons, val=None)))
    with pytest.raises(EdgepressError, match="float16 quantizes no activations"):
        mend.check(model, replace(work, plan=Plan(scheme="float16")))
    with pytest.raises(EdgepressError, match="must not be negative"):
        mend.check(model, work, max_drop=-1.0)
