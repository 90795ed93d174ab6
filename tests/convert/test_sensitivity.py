"""Damage layer by layer against the same rounding done by hand, in NumPy and Keras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from tests.convert.conftest import convert_here
from tests.convert.taught import job as make_job

from edgepress_convert import flatbuffer, planned, quantize, rounded, verify
from edgepress_convert.compress import sensitivity
from edgepress_convert.compress.job import Job
from edgepress_convert.plan import Plan
from edgepress_convert.planned import Prepared
from edgepress_train.keras2 import keras

GAIN = 200.0


def fragile() -> keras.Model:
    """A classifier of the brightest of three colours, one layer of which gives numbers of very different sizes.

    `wide` has a channel that is a hundred times the others and that nothing listens to: int8 steps that hold it drown
    the others, which carry everything. Its kernel, with a scale a channel, loses nothing.
    """
    lay = keras.layers
    inputs = keras.Input((6, 6, 3), name="picture")
    x = lay.Conv2D(4, 1, use_bias=False, name="wide")(inputs)
    x = lay.ReLU(name="cut")(lay.BatchNormalization(name="norm", epsilon=1e-7)(x))
    x = lay.Conv2D(3, 1, activation="relu", name="narrow")(x)
    x = lay.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, lay.Dense(3, activation="softmax", name="head")(x))
    rng = np.random.default_rng(0)
    first = np.concatenate([np.full((3, 1), GAIN / 3), np.eye(3)], axis=1)
    second = np.concatenate([np.zeros((1, 3)), np.eye(3) + rng.uniform(-0.02, 0.02, (3, 3))])
    one, zero = np.ones(4, np.float32), np.zeros(4, np.float32)
    model.get_layer("wide").set_weights([first[None, None].astype(np.float32)])
    model.get_layer("norm").set_weights([one, zero, zero, one])
    model.get_layer("narrow").set_weights([second[None, None].astype(np.float32), zero[:3]])
    model.get_layer("head").set_weights([(30 * np.eye(3) - 10).astype(np.float32), zero[:3]])
    return model


def colours(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures one of whose colours is a little brighter than the others, and which."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    pictures = rng.uniform(0, 1, (n, 6, 6, 3)) * 0.6
    pictures[np.arange(n), :, :, labels] += 0.2
    return pictures.astype(np.float32), labels


def taught(folder: Path, **changes) -> Job:
    """A job on such pictures, 60 of which are for validation."""
    pictures, labels = colours(60, seed=2)
    values = (pictures, np.eye(3, dtype=np.float32)[labels], np.ones(60, np.float32))
    job = make_job(folder, *colours(96, seed=1), **changes)
    val = tf.data.Dataset.from_tensor_slices(values).batch(32)
    return replace(job, lessons=replace(job.lessons, val=val, val_labels=labels))


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert in this process, which has TensorFlow already."""
    monkeypatch.setattr(quantize, "convert", convert_here)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "convert", convert_here)
        return planned.prepare(fragile(), colours(48, seed=1)[0])


def steps(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Through the 256 steps of int8 between `low` and `high`, one of which is zero."""
    scale = (high - low) / 255
    zero = np.rint(-128 - low / scale)
    return (np.clip(np.rint(values / scale) + zero, -128, 127) - zero) * scale


def test_the_fragile_layer_comes_first(prepared: Prepared, tmp_path: Path) -> None:
    rows = sensitivity.rank(fragile(), taught(tmp_path))
    assert (rows[0].name, rows[0].layers, rows[0].ops) == ("wide", ("wide", "norm", "cut"), ("CONV_2D",))
    assert rows[0].damage > 10 * rows[1].damage
    assert rows[0].kernel < rows[0].damage / 100  # it is the output that hurts
    assert [row.damage for row in rows] == sorted((row.damage for row in rows), reverse=True)
    assert {row.name for row in rows} == {unit.name for unit in prepared.layers.units}
    assert all(row.drop_points is not None for row in rows)
    told = sensitivity.as_json(rows)
    assert told[0]["layers"] == ["wide", "norm", "cut"] and set(told[0]) == {
        "name", "layers", "ops", "damage", "kernel", "drop_points"
    }  # fmt: skip


def test_damage_is_that_of_rounding_by_hand(prepared: Prepared, tmp_path: Path) -> None:
    """Kernel and output of `narrow` rounded in NumPy, the rest of the net in Keras."""
    model, job = fragile(), taught(tmp_path)
    (row,) = (row for row in sensitivity.rank(model, job) if row.name == "narrow")
    pictures, labels = colours(60, seed=2)
    before = keras.Model(model.inputs, model.get_layer("cut").output).predict(pictures, verbose=0)
    seen = keras.Model(model.inputs, model.get_layer("narrow").output).predict(job.representative, verbose=0)
    kernel = model.get_layer("narrow").get_weights()[0][0, 0]
    scale = np.abs(kernel).max(axis=0) / 127
    kernel = np.rint(kernel / scale) * scale
    after = np.maximum(before @ kernel, 0)
    head = model.get_layer("head").get_weights()[0]

    def scores(features: np.ndarray) -> np.ndarray:
        logits = features.mean(axis=(1, 2)) @ head
        raised = np.exp(logits - logits.max(axis=1, keepdims=True))
        return raised / raised.sum(axis=1, keepdims=True)

    expected = model.predict(pictures, verbose=0)
    kernel_alone, both = scores(after), scores(steps(after, 0.0, float(seen.max())))
    assert row.kernel == pytest.approx(sensitivity.divergence(expected, kernel_alone), rel=0.02)
    assert row.damage == pytest.approx(sensitivity.divergence(expected, both), rel=0.05)
    points = 100 * ((expected.argmax(1) == labels).mean() - (both.argmax(1) == labels).mean())
    assert row.drop_points == pytest.approx(points)


def test_damages_add_up_to_that_of_all(prepared: Prepared, tmp_path: Path) -> None:
    """What every layer does alone is about what the int8 model does, of which the widest layer is nearly all."""
    job = taught(tmp_path)
    held = sensitivity.judged_on(job, 100)
    rows = sensitivity.measure(prepared, held, job.plan)
    whole = sensitivity.divergence(verify.scores(prepared.float_model, held), verify.scores(
        planned.build(prepared, Plan()), held
    ))  # fmt: skip
    assert 0.4 < sum(row.damage for row in rows) / whole < 2.5


def test_one_scale_for_all_makes_the_kernel_a_culprit(tmp_path: Path) -> None:
    """Per-tensor weights: the kernel of `wide` has entries that are 67 times the others, of which little is left."""
    damage = {}
    for weights in ("per-channel", "per-tensor"):
        rows = sensitivity.rank(fragile(), taught(tmp_path, plan=Plan(weights=weights)))
        damage[weights] = {row.name: row.kernel for row in rows}
    assert damage["per-tensor"]["wide"] > 20 * damage["per-channel"]["wide"]
    assert damage["per-tensor"]["head"] == pytest.approx(damage["per-channel"]["head"], rel=0.5)


def test_without_a_validation_part_the_representative_examples_do(tmp_path: Path) -> None:
    job = make_job(tmp_path, *colours(48, seed=1))
    rows = sensitivity.rank(fragile(), job, examples=20)
    assert rows[0].name == "wide"
    assert {row.drop_points for row in rows} == {None}


def test_what_only_hands_on_does_no_damage() -> None:
    """Cutting, padding, joining shapes: the same numbers at the same scale."""
    lay = keras.layers
    inputs = keras.Input((6, 6, 2))
    x = lay.Conv2D(3, 1, name="mix")(inputs)
    x = lay.ZeroPadding2D(1, name="pad")(lay.Cropping2D(1, name="crop")(x))
    x = lay.Flatten(name="flat")(lay.MaxPooling2D(2, name="pool")(x))
    model = keras.Model(inputs, lay.Dense(3, activation="softmax", name="head")(x))
    given = np.random.default_rng(0).normal(size=(12, 6, 6, 2)).astype(np.float32)
    prepared = planned.prepare(model, given)
    found = sensitivity.measure(prepared, sensitivity.Examples(given, lambda part: part, None, ""), Plan())
    damage = {name: row.damage for row in found for name in row.layers}
    assert {name for name, value in damage.items() if value == 0} == {"crop", "pad", "pool", "flat"}
    (mix,) = prepared.layers.of("mix")
    assert [unit.name for unit in sensitivity.readers(prepared, mix)] == ["mix", "crop", "pad", "pool", "flat", "head"]
    (crop,) = prepared.layers.of("crop")
    assert "mix" not in [unit.name for unit in sensitivity.readers(prepared, crop)]


def test_rounding_of_kernels_and_outputs(prepared: Prepared) -> None:
    graph = prepared.graph
    values = np.array([[1.0, -0.5], [0.01, 0.004]], np.float32)
    np.testing.assert_allclose(rounded.round_kernel(values, 0)[1], np.array([127, 51]) * 0.01 / 127, rtol=1e-6)
    np.testing.assert_allclose(rounded.round_kernel(values, None)[1], np.array([1, 1]) / 127 * [1, 1], rtol=1e-6)
    np.testing.assert_array_equal(rounded.round_kernel(np.zeros((2, 2), np.float32), 0), 0)
    same = rounded.rounded(prepared.float_model, planned.ranges_of(prepared, Plan()))
    held = sensitivity.Examples(colours(6, seed=3)[0], lambda part: part, None, "")
    np.testing.assert_array_equal(verify.scores(same, held), verify.scores(prepared.float_model, held))
    every = range(len(graph.ops))
    both = rounded.rounded(prepared.float_model, planned.ranges_of(prepared, Plan()), kernels=every, outputs=every)
    kinds = [op.kind for op in flatbuffer.graphs(both)[0].ops]
    assert kinds.count("QUANTIZE") == kinds.count("DEQUANTIZE") == len(graph.ops)
    # Everything rounded in float is what integers compute, but for an int8 input
    eight = verify.scores(planned.build(prepared, Plan()), held)
    assert np.abs(verify.scores(both, held) - eight).max() < 0.1


def test_kernels_are_rounded_as_in_the_int8_model() -> None:
    """The channels of every kind of kernel have the scales that the quantizer gives them, and its integers."""
    lay = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = lay.DepthwiseConv2D(3, depth_multiplier=2)(lay.Conv2D(5, 2)(inputs))
    x = lay.Flatten()(lay.Conv2DTranspose(4, 3, strides=2)(x))
    model = keras.Model(inputs, lay.Dense(7)(x))
    prepared = planned.prepare(model, np.random.default_rng(0).normal(size=(6, 6, 6, 3)).astype(np.float32))
    graph, eight = prepared.graph, planned.build(prepared, Plan())
    stored = schema.ModelT.InitFromObj(schema.Model.GetRootAs(eight, 0)).subgraphs[0]
    integers = {t.name: t for t in flatbuffer.graphs(eight)[0].tensors}
    details = {t.name.decode(): t.quantization for t in stored.tensors}
    kinds = []
    for op in graph.ops:
        index = rounded.kernel_of(op, graph)
        if index is None:
            continue
        kinds.append(op.kind)
        tensor = graph.tensors[index]
        ours = rounded.round_kernel(tensor.values().reshape(tensor.shape), rounded.CHANNEL_AXIS[op.kind])
        theirs = integers[tensor.name].values().reshape(tensor.shape).astype(np.float64)
        shape = np.ones(theirs.ndim, int)
        shape[details[tensor.name].quantizedDimension] = -1
        np.testing.assert_allclose(ours, theirs * details[tensor.name].scale.reshape(shape), rtol=1e-5, atol=1e-8)
    assert set(kinds) == set(rounded.CHANNEL_AXIS)


def test_divergence_in_numbers() -> None:
    p, q = np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]])
    assert sensitivity.divergence(p, q) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert sensitivity.divergence(p, p) == 0
    assert np.isfinite(sensitivity.divergence(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])))
