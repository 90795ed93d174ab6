"""Bias correction: each channel's mean measured by another way, before and after, in LiteRT and in Keras."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tests.convert.conftest import convert_here

from edgepress_convert import quantize
from edgepress_convert.compress.bias import Means, _store, answer, check, correct_bias
from edgepress_convert.compress.fold import fold
from edgepress_convert.compress.job import Job
from edgepress_convert.flatbuffer import Tensor
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras

layers = keras.layers
NAMES = ("one", "two", "three", "four")
_APART = 40.0


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(quantize, "convert", convert_here)


def examples(n: int, seed: int) -> np.ndarray:
    """All positive, so that an error of a weight is an error of the mean; the last channel is small."""
    return np.random.default_rng(seed).uniform(0, 2, (n, 8, 8, 3)).astype(np.float32) * np.float32([1, 1, 1 / _APART])


def job(**changes) -> Job:
    settings = {"plan": Plan(weights="per-tensor"), **changes}
    return Job(SimpleNamespace(), examples(48, 1), None, Path(), **settings)


@pytest.fixture(scope="module")
def model():
    """Layers of all kinds; the last channel is small everywhere, and the great weights that read it make the steps of
    the others coarse."""
    rng = np.random.default_rng(2)
    given = keras.Input((8, 8, 3))
    y = layers.Conv2D(6, 3, padding="same", name="one")(given)
    y = layers.ReLU()(layers.BatchNormalization(name="norm")(y))
    y = layers.DepthwiseConv2D(3, padding="same", activation="relu", name="two")(y)
    y = layers.Conv2D(6, 1, name="three")(y)
    net = keras.Model(given, layers.Dense(4, name="four")(layers.GlobalAveragePooling2D()(y)))
    for name in NAMES:
        kernel, bias = net.get_layer(name).get_weights()
        kernel = rng.normal(0.2, 1, kernel.shape).astype(np.float32) * 0.2
        bias = rng.uniform(0, 0.5, bias.shape).astype(np.float32)
        if name != "two":
            kernel[..., -1, :] *= _APART
        if name in ("one", "three"):
            kernel[..., -1] /= _APART
            bias[-1] /= _APART
        net.get_layer(name).set_weights([kernel, bias])
    gamma, beta, mean, variance = (rng.uniform(0.8, 1.2, 6).astype(np.float32) for _ in range(4))
    net.get_layer("norm").set_weights([gamma, beta / [1, 1, 1, 1, 1, _APART], mean / [1, 1, 1, 1, 1, _APART], variance])
    return net


def mean_errors(net, made, work: Job, x: np.ndarray) -> dict[str, np.ndarray]:
    """Each layer's mean over examples and places in LiteRT's int8 of `made`, less that in Keras's `net`, by name."""
    ends = {"one": "re_lu", "two": "two", "three": "three", "four": "four"}
    outputs = [next(layer.output for layer in net.layers if layer.name.startswith(ends[name])) for name in NAMES]
    wanted = keras.Model(net.inputs, outputs).predict(x, verbose=0)
    interpreter = Interpreter(
        model_content=quantize.from_plan(made, work.plan, work.representative),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]
    scale, zero = source["quantization"]
    found: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    operators = [op for op in interpreter._get_ops_details() if "CONV" in op["op_name"] or "FULLY" in op["op_name"]]
    for example in x:
        stored = np.clip(np.rint(example[np.newaxis] / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(source["index"], stored)
        interpreter.invoke()
        for name, op in zip(NAMES, operators, strict=True):
            tensor = op["outputs"][0]
            detail = next(t for t in interpreter.get_tensor_details() if t["index"] == tensor)
            step, offset = detail["quantization"]
            value = (interpreter.get_tensor(tensor).astype(np.float64) - offset) * step
            found[name].append(value.reshape(-1, value.shape[-1]).mean(axis=0))
    return {
        name: np.mean(found[name], axis=0) - seen.reshape(-1, seen.shape[-1]).mean(axis=0)
        for name, seen in zip(NAMES, wanted, strict=True)
    }


def test_the_means_come_back_in_every_layer(model):
    work = job()
    before = [w.copy() for w in model.get_weights()]
    made = correct_bias(model, work, examples=48)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    for x in (work.representative, examples(48, 5)):
        was, now = mean_errors(model, model, work, x), mean_errors(model, made, work, x)
        for name in NAMES:
            assert np.abs(now[name]).sum() < 0.35 * np.abs(was[name]).sum(), name


def test_only_biases_change(model):
    made = correct_bias(model, job())
    folded = fold(model)
    for name in NAMES:
        (kernel, bias), (old_kernel, old_bias) = (
            made.get_layer(name).get_weights(),
            folded.get_layer(name).get_weights(),
        )
        np.testing.assert_array_equal(kernel, old_kernel)
        assert np.abs(bias - old_bias).max() > 1e-3


def test_the_shift_is_the_mean_error_over_the_open_share_and_never_chance():
    ripple = np.where(np.arange(16) % 2, 1.0, -1.0)
    error = np.stack([0.3 + 0.0 * ripple, 0.3 + 0.1 * ripple, 0.3 + ripple, 0.3 + 0.0 * ripple], axis=1)
    wanted = Means(np.ones((16, 4)), np.tile([1.0, 0.5, 1.0, 0.01], (16, 1)))
    given = Means(wanted.mean + error, wanted.open)
    # certain, certain behind a ReLU that is half open, within 2 standard errors (0.52) of nothing, nearly closed
    np.testing.assert_allclose(answer(wanted, given), [-0.3, -0.6, 0.0, 0.0])


def test_a_layer_called_twice_keeps_its_bias():
    given = keras.Input((8, 8, 3))
    shared = layers.Conv2D(3, 1, name="shared")
    net = keras.Model(given, layers.Flatten()(layers.Conv2D(2, 1, name="own")(shared(shared(given)))))
    made = correct_bias(net, job())
    np.testing.assert_array_equal(made.get_layer("shared").get_weights()[1], shared.get_weights()[1])


def test_a_shift_is_stored_in_whole_steps_and_in_a_buffer_of_its_own():
    bias = Tensor(1, "bias", (2,), "int32", (0.5, 0.25), (0, 0), np.array([10, -(2**31)], "<i4").tobytes())
    tensors = [SimpleNamespace(buffer=0), SimpleNamespace(buffer=0)]
    edited = SimpleNamespace(buffers=["shared"], subgraphs=[SimpleNamespace(tensors=tensors)])
    moved = _store(edited, bias, np.array([0.8, -1.0]))
    np.testing.assert_allclose(moved, [1.0, 0.0])  # 1.6 steps are 2; nothing lies below the smallest integer
    assert [t.buffer for t in tensors] == [0, 1] and edited.buffers[0] == "shared"
    np.testing.assert_array_equal(edited.buffers[1].data.view("<i4"), [12, -(2**31)])


def test_it_says_beforehand_what_it_cannot_do(model):
    with pytest.raises(EdgepressError, match="float32 leaves no mean error"):
        check(model, job(plan=Plan(scheme="float32")))
    with pytest.raises(EdgepressError, match="over 1 examples"):
        check(model, job(), examples=1)
