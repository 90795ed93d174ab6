"""Pruning: zeros counted in the weights and in the .tflite, shares by brute force, patterns by loops."""

from __future__ import annotations

import numpy as np
import pytest
from tests.convert.taught import converted, job, noted, stripes

from edgepress_convert import flatbuffer
from edgepress_convert.compress import magnitude
from edgepress_convert.compress.magnitude import prune
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras

layers = keras.layers
DATA = stripes(96, (8, 8, 4), seed=1)


@pytest.fixture(scope="module")
def net() -> keras.Model:
    """A net with one layer of each kind that is pruned, and one that is not; some of them in a nested model."""
    keras.utils.set_random_seed(3)
    inner_in = keras.Input((8, 8, 8))
    x = layers.DepthwiseConv2D(3, name="depthwise", use_bias=False)(inner_in)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(12, 3, activation="relu", name="separable")(x)
    inner = keras.Model(inner_in, x, name="inner")
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(inputs)
    x = inner(x)
    x = layers.Reshape((16, 12))(x)
    x = layers.Conv1D(10, 3, activation="relu", name="along")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(12, activation="relu", name="wide")(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))


KERNELS = {"first": 0, "separable": 1, "along": 0, "wide": 0, "head": 0}


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    return {name: model.get_layer(name).get_weights()[place] for name, place in KERNELS.items()}


def zeros(kernel: np.ndarray) -> int:
    return int(np.count_nonzero(kernel == 0))


def test_every_kernel_gets_its_zeros_and_keeps_them(net, tmp_path):
    before = [w.copy() for w in net.get_weights()]
    task, notes = noted(tmp_path, *DATA)
    pruned = prune(net, task, sparsity=0.7, epochs=3)
    for kernel in kernels(pruned).values():
        assert zeros(kernel) == kernel.size - max(round(kernel.size * 0.3), 1)
        assert not np.signbit(kernel[kernel == 0]).any()
    assert zeros(pruned.get_layer("depthwise").get_weights()[0]) == 0
    assert notes == ["not pruned: depthwise (DepthwiseConv2D)"]
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))
    assert {type(layer) for layer in pruned.layers} <= {type(x) for x in [*net.layers, *net.get_layer("inner").layers]}
    # training went on around the zeros, normalisation included
    (norm,) = (layer for layer in pruned.layers if isinstance(layer, layers.BatchNormalization))
    assert np.abs(norm.moving_mean.numpy()).min() > 0


def test_the_zeros_are_in_the_file(net, tmp_path):
    pruned = prune(net, job(tmp_path, *DATA), sparsity=0.5, epochs=0)
    graph = flatbuffer.graphs(converted(pruned, DATA[0][:16]))[0]
    stored = {t.size: t for t in graph.tensors if t.is_weight and t.dtype == "int8" and len(t.shape) > 1}
    for kernel in kernels(pruned).values():
        assert np.count_nonzero(stored[kernel.size].values() == 0) >= zeros(kernel) == kernel.size // 2


def test_two_of_four_lie_side_by_side_in_the_file(net, tmp_path):
    """LiteRT stores (outputs, height, width, inputs): every aligned four numbers along the last axis hold two zeros."""
    task, notes = noted(tmp_path, *DATA)
    pruned = prune(net, task, sparsity=0.5, pattern="2of4", epochs=1)
    graph = flatbuffer.graphs(converted(pruned, DATA[0][:16]))[0]
    found = 0
    for tensor in graph.tensors:
        if not (tensor.is_weight and tensor.dtype == "int8" and len(tensor.shape) > 1 and tensor.shape[-1] % 4 == 0):
            continue
        blocks = tensor.values().reshape(-1, 4)
        dense = any(tensor.size == pruned.get_layer(name).get_weights()[0].size for name in ("along", "depthwise"))
        assert dense or (np.count_nonzero(blocks, axis=1) <= 2).all()
        found += not dense
    assert found == 4
    assert notes == ["not pruned: depthwise (DepthwiseConv2D), along (Conv1D)"]


def test_one_of_four(net, tmp_path):
    pruned = prune(net, job(tmp_path, *DATA), sparsity=0.75, pattern="1of4", epochs=0)
    kernel = pruned.get_layer("wide").get_weights()[0]
    assert (np.count_nonzero(kernel.reshape(-1, 4, kernel.shape[1]), axis=1) == 1).all()


@pytest.mark.parametrize("kind", ["polynomial", "constant"])
@pytest.mark.parametrize("steps", [0, 1, 2, 3, 10, 101, 1234])
def test_the_masks_are_last_chosen_at_the_full_share(kind, steps):
    schedule = magnitude._schedule(kind, 0.1, 0.7, steps)
    chosen = [(step, float(schedule(step)[1])) for step in range(1, max(2, steps + 1)) if bool(schedule(step)[0])]
    assert chosen[-1][1] == pytest.approx(0.7)
    assert len(chosen) <= 102
    if kind == "polynomial" and steps >= 10:
        assert chosen[0][1] < 0.4
        assert steps / 2 < chosen[-1][0] < 0.8 * steps


def test_blocks_live_and_die_together(net, tmp_path):
    pruned = prune(net, job(tmp_path, *DATA), sparsity=0.75, pattern="block-4x2", epochs=1)
    kernel = pruned.get_layer("wide").get_weights()[0]
    live = np.abs(kernel).reshape(kernel.shape[0] // 4, 4, kernel.shape[1] // 2, 2) > 0
    together = live.any(axis=(1, 3))
    assert np.array_equal(together, live.all(axis=(1, 3)))
    assert np.count_nonzero(together) == round(together.size * 0.25)
    assert zeros(pruned.get_layer("first").get_weights()[0]) == 0


def test_shares_are_those_of_the_least_scores():
    rng = np.random.default_rng(0)
    sizes = {"narrow": 0.2, "wide": 3.0, "flat": 1.0}
    found = {name: (rng.normal(size=(4, 9)) ** 3 * scale).astype(np.float32) for name, scale in sizes.items()}
    found["flat"] = np.sign(found["flat"]) + 0.001 * found["flat"]
    scores = []
    for name, kernel in found.items():
        flat = kernel.astype(float).ravel()
        scores += [(w * w / sum(v * v for v in flat if abs(v) >= abs(w)), name) for w in flat]
    gone = [name for _, name in sorted(scores)[:54]]
    expected = {name: gone.count(name) / 36 for name in found}
    assert magnitude.shares(found, 0.5) == pytest.approx(expected)
    # The scale of a layer does not matter, the spread of its weights does.
    assert expected["flat"] < min(expected["narrow"], expected["wide"])


def test_adaptive_shares_add_up(net, tmp_path):
    pruned = kernels(prune(net, job(tmp_path, *DATA), sparsity=0.8, adaptive=True, epochs=2))
    size = sum(kernel.size for kernel in pruned.values())
    assert sum(map(zeros, pruned.values())) == pytest.approx(0.8 * size, abs=len(pruned))
    each = {name: zeros(kernel) / kernel.size for name, kernel in pruned.items()}
    assert max(each.values()) - min(each.values()) > 0.05
    assert all(kernel.any() for kernel in pruned.values())


def test_what_is_sparser_already_stays_so(net, tmp_path):
    once = prune(net, job(tmp_path / "1", *DATA), sparsity=0.9, epochs=0)
    twice = prune(once, job(tmp_path / "2", *DATA), sparsity=0.5, epochs=2)
    for before, after in zip(kernels(once).values(), kernels(twice).values(), strict=True):
        assert zeros(after) >= zeros(before)


def test_an_interrupted_pruning_goes_on(net, tmp_path, monkeypatch):
    whole = prune(net, job(tmp_path / "whole", *DATA), sparsity=0.6, epochs=2)
    monkeypatch.setattr("edgepress_train.fit._CHECKPOINT_EVERY_S", 0.0)
    steps = iter(range(100))

    def stop(stage: str, done: int, total: int, note: str) -> None:
        if next(steps) > 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune(net, job(tmp_path / "cut", *DATA, progress=stop), sparsity=0.6, epochs=2)
    again = prune(net, job(tmp_path / "cut", *DATA), sparsity=0.6, epochs=2)
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


WRONG = [
    ({"sparsity": 1.0}, "prune takes a share between 0 and 1, not 1.0"),
    ({"schedule": "linear"}, "unknown schedule 'linear'"),
    ({"pattern": "4by1"}, "unknown pattern '4by1'"),
    ({"pattern": "block-0x4"}, "unknown pattern 'block-0x4'"),
    ({"pattern": "4of4"}, "unknown pattern '4of4'"),
    ({"pattern": "2of4", "sparsity": 0.6}, "the pattern 2of4 makes 50 % of the weights zero, not 60 %"),
    ({"pattern": "2of4", "adaptive": True}, "adaptive goes with single weights, not with the pattern 2of4"),
    ({"pattern": "2of64"}, "nothing of net can be pruned so: no layer of it has 64 input channels"),
    ({"pattern": "block-4x1"}, "nothing of net can be pruned so: blocks are for dense layers, and it has none"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG)
def test_what_cannot_be_is_said_before_training(options, sentence, tmp_path):
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, layers.Conv2D(4, 3)(inputs), name="net")
    with pytest.raises(EdgepressError) as error:
        magnitude.check(model, job(tmp_path, *DATA), **options)
    assert error.value.what == sentence
    assert not list(tmp_path.iterdir())


def test_a_net_without_such_layers_is_refused(tmp_path):
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, layers.DepthwiseConv2D(3)(inputs), name="net")
    with pytest.raises(EdgepressError, match="it has no convolution but depthwise ones, and no dense layer"):
        magnitude.check(model, job(tmp_path, *DATA))
