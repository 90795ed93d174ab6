"""The text encoder against the same arithmetic in NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_train import models
from edgepress_train.keras2 import keras

LENGTH, PIECES, CLASSES = 7, 40, 3
TINY = "transformer:dim=8:blocks=2:heads=2:inner=12:dropout=0.0"


@pytest.fixture(scope="module")
def net():
    keras.utils.set_random_seed(3)
    model = models.build(TINY, (LENGTH, PIECES), CLASSES, archs=models.TEXT_ARCHS)
    rng = np.random.default_rng(0)
    for weight in model.trainable_weights:  # fresh ones are so small that most of the net would not be seen
        weight.assign(rng.normal(0, 0.6, weight.shape))
    return model


def texts(n: int, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ids = rng.integers(2, PIECES, (n, LENGTH)).astype(np.int32)
    for row in ids:
        row[rng.integers(1, LENGTH + 1) :] = 0
    return ids


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).sum(axis=-1, keepdims=True))


def by_hand(model: keras.Model, ids: np.ndarray) -> np.ndarray:
    """One text, (LENGTH,) -> (CLASSES,), weights taken in the order in which the net uses them."""
    weights = [w.astype(np.float64) for w in model.get_weights()]
    named = {layer.name: [w.astype(np.float64) for w in layer.get_weights()] for layer in model.layers}
    dense = [layer.get_weights() for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    dense.sort(key=len)  # nothing relies on it; only the table below does
    table = next(v[0] for v in named.values() if len(v) == 1 and v[0].shape == (PIECES, 8))
    kernel, places = next(v for v in named.values() if len(v) == 2 and v[1].shape == (LENGTH, 8))
    x = table[ids] @ kernel + places
    far = np.where(ids == 0, -10.0, 0.0)
    numbered = sorted(
        (layer for layer in model.layers if type(layer) is keras.layers.Dense),
        key=lambda layer: int(layer.name.rpartition("_")[2]) if "_" in layer.name else 0,
    )
    queue = iter([[w.astype(np.float64) for w in layer.get_weights()] for layer in numbered])
    assert weights
    for _ in range(2):
        h = unit(x)
        heads = []
        for _ in range(2):
            (wq, bq), (wk,), (wv, bv) = next(queue), next(queue), next(queue)
            attention = softmax((h @ wq + bq) @ (h @ wk).T + far)
            heads.append(attention @ (h @ wv + bv))
        w, b = next(queue)
        x = x + np.concatenate(heads, axis=1) @ w + b
        (w1, b1), (w2, b2) = next(queue), next(queue)
        x = x + np.maximum(unit(x) @ w1 + b1, 0) @ w2 + b2
    share = softmax(far)
    w, b = next(queue)
    return softmax(share @ unit(x) @ w + b)


def test_the_net_is_what_it_says(net):
    ids = texts(12)
    expected = np.stack([by_hand(net, row) for row in ids])
    np.testing.assert_allclose(net.predict(ids, verbose=0), expected, atol=2e-5)


def test_the_mean_is_over_real_pieces_only(net):
    hidden = keras.Model(
        net.inputs[0], [layer.output for layer in net.layers if isinstance(layer, keras.layers.Dot)][-1]
    )
    last = [layer.input for layer in net.layers if isinstance(layer, keras.layers.Dot)][-1][1]
    ids = texts(20)
    whole = keras.Model(net.inputs[0], last).predict(ids, verbose=0)
    expected = np.stack([row[ids_row != 0].mean(axis=0) for row, ids_row in zip(whole, ids, strict=True)])
    np.testing.assert_allclose(hidden.predict(ids, verbose=0)[:, 0], expected, atol=3e-3)  # exp(-10) is not quite 0


def test_the_order_of_the_pieces_matters(net):
    ids = np.array([[5, 6, 7, 8, 0, 0, 0], [8, 7, 6, 5, 0, 0, 0]], np.int32)
    first, second = net.predict(ids, verbose=0)
    assert np.abs(first - second).max() > 1e-3


def test_it_is_saved_and_read_without_code_of_its_own(net, tmp_path):
    net.save(tmp_path / "net.keras")
    again = keras.models.load_model(tmp_path / "net.keras", compile=False)
    ids = texts(5)
    np.testing.assert_array_equal(net.predict(ids, verbose=0), again.predict(ids, verbose=0))
    assert {type(layer).__module__.split(".")[0] for layer in again.layers} == {"tf_keras"}


def test_padding_has_no_weight_that_learns(net):
    fixed = [w for w in net.weights if not any(w is t for t in net.trainable_weights)]
    assert [tuple(w.shape) for w in fixed] == [(PIECES, 1)]
    assert fixed[0].numpy()[:, 0].tolist() == [-10.0] + [0.0] * (PIECES - 1)


@pytest.mark.parametrize("norm", ["unit", "layer"])
def test_every_norm_makes_a_net(norm):
    model = models.build(f"{TINY}:norm={norm}", (LENGTH, PIECES), CLASSES, archs=models.TEXT_ARCHS)
    assert model.output_shape == (None, CLASSES)


@pytest.mark.parametrize(
    ("arch", "sentence"),
    [
        ("transformer:dim=9:heads=2", "9 channels cannot be divided among 2 heads"),
        ("transformer:norm=group", "unknown norm 'group'"),
        ("transfomer", "unknown architecture 'transfomer'; did you mean 'transformer'?"),
        ("transformer:depth=2", "architecture 'transformer' has no option 'depth'"),
        ("resnet8", "unknown architecture 'resnet8'"),
    ],
)
def test_what_cannot_be_built_is_told(arch, sentence):
    with pytest.raises(EdgepressError, match=sentence):
        models.build(arch, (LENGTH, PIECES), CLASSES, archs=models.TEXT_ARCHS)
