"""Clustering: values counted in the weights and in the .tflite, centroids against a brute-force optimum."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from tests.convert.taught import converted, job, noted, stripes

from edgepress_convert import flatbuffer
from edgepress_convert.compress import cluster as clustering
from edgepress_convert.compress.cluster import centroids, cluster
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras

layers = keras.layers
DATA = stripes(96, (8, 8, 4), seed=1)
KERNELS = {"first": 0, "separable": 1, "along": 0, "wide": 0}


@pytest.fixture(scope="module")
def net() -> keras.Model:
    """One layer of each kind, one of them too small to be clustered, with unlike ranges among the channels of one."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, padding="same", name="first", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = layers.SeparableConv2D(12, 3, activation="relu", name="separable")(x)
    x = layers.Conv1D(10, 3, activation="relu", name="along")(layers.Reshape((16, 12))(x))
    x = layers.Dense(12, activation="relu", name="wide")(layers.Flatten()(x))
    x = layers.Dense(2, activation="relu", name="narrow")(x)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))
    first, norm = model.get_layer("first"), model.get_layer("norm")
    first.set_weights([first.get_weights()[0] * np.geomspace(0.1, 8, 8).astype(np.float32)])
    rng = np.random.default_rng(1)
    seen = np.asarray(first(DATA[0]))
    scale = [rng.uniform(0.5, 1.5, 8).astype(np.float32) for _ in range(2)]
    norm.set_weights([*scale, seen.mean(axis=(0, 1, 2)), seen.var(axis=(0, 1, 2))])
    return model


@pytest.fixture(scope="module")
def clustered(net, tmp_path_factory):
    """The net with eight values a kernel, before and after, and what was noted."""
    before = [w.copy() for w in net.get_weights()]
    task, notes = noted(tmp_path_factory.mktemp("job"), *DATA)
    made = cluster(net, task, clusters=8, epochs=3)
    assert all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True))
    return made, notes


def kernels(model: keras.Model) -> dict[str, np.ndarray]:
    return {name: model.get_layer(name).get_weights()[place] for name, place in KERNELS.items()}


def integers(model: keras.Model, plan: Plan) -> dict[int, np.ndarray]:
    """Kernels in the .tflite as (channels, weights of each), by their size."""
    graph = flatbuffer.graphs(converted(model, DATA[0][:16], plan))[0]
    found = [t for t in graph.tensors if t.is_weight and t.dtype == "int8" and len(t.shape) > 1]
    return {t.size: t.values().reshape(t.shape[0], -1) for t in found}


def test_each_kernel_has_so_many_values(net, clustered):
    made, notes = clustered
    for name, kernel in kernels(made.model).items():
        assert np.unique(kernel).size <= 8, name
        assert np.unique(kernels(net)[name]).size > 8
    assert notes == ["not clustered: depthwise (DepthwiseConv2D), separable_depthwise (DepthwiseConv2D)"]
    assert [type(layer) for layer in made.model.layers] == [type(layer) for layer in net.layers]
    first = made.model.get_layer("first").get_weights()[0]
    assert first.max() == -first.min() > 0


def test_training_went_on(net, clustered):
    """Whatever is not clustered is trained, and normalisation sees the batches: TF-MOT's wrapper would hide them."""
    made, _ = clustered
    for name in ("depthwise", "norm", "head"):
        for before, after in zip(
            net.get_layer(name).get_weights(), made.model.get_layer(name).get_weights(), strict=True
        ):
            assert not np.allclose(before, after, atol=1e-6)


def test_the_file_has_as_few_integers(clustered):
    made, _ = clustered
    assert made.plan == Plan(weights="per-tensor-dense")
    stored = integers(made.model, made.plan)
    for name in ("first", "wide"):  # one convolution before a normalisation, one dense layer
        assert np.unique(stored[kernels(made.model)[name].size]).size <= 8, name
    for kernel in kernels(made.model).values():
        assert max(np.unique(channel).size for channel in stored[kernel.size]) <= 8


def test_leveling_changes_no_answer(net, tmp_path):
    from edgepress_convert.compress import prepare

    plain = prepare.flat(net)
    done = clustering._leveled(plain, job(tmp_path, *DATA))
    assert done == {"first"}
    np.testing.assert_allclose(np.abs(plain.get_layer("first").get_weights()[0]).max(axis=(0, 1, 2)), 1, rtol=1e-6)
    for training in (False, True):
        np.testing.assert_allclose(
            np.asarray(plain(DATA[0], training=training)), np.asarray(net(DATA[0], training=training)), atol=1e-5
        )


@pytest.mark.parametrize("per_channel", [False, True])
def test_zeros_stay(net, per_channel, tmp_path):
    sparse = keras.models.clone_model(net)
    sparse.set_weights(net.get_weights())
    rng = np.random.default_rng(2)
    for name, place in KERNELS.items():
        weights = sparse.get_layer(name).get_weights()
        weights[place] = np.where(
            rng.random(weights[place].shape) < 0.05, -6 * np.abs(weights[place]), abs(weights[place])
        )
        weights[place] *= rng.random(weights[place].shape) < 0.4
        weights[place][..., 1] = 0  # a channel of nothing else
        sparse.get_layer(name).set_weights(weights)
    made = cluster(sparse, job(tmp_path, *DATA), clusters=8, epochs=2, per_channel=per_channel)
    for name, kernel in kernels(made.model).items():
        assert not kernel[kernels(sparse)[name] == 0].any(), name
        assert np.unique(kernel).size <= 8
        assert np.count_nonzero(kernel) > 0.7 * np.count_nonzero(kernels(sparse)[name])


@pytest.mark.parametrize("per_channel", [False, True])
def test_tfmot_is_told_where_the_zeros_are(per_channel):
    """It would find them from values of its own, which lie elsewhere where weights are skewed."""
    rng = np.random.default_rng(2)
    layer = layers.Conv2D(6, 3)
    layer.build((None, 8, 8, 8))
    kernel = np.where(
        rng.random((3, 3, 8, 6)) < 0.1, rng.uniform(-9, -5, (3, 3, 8, 6)), rng.exponential(size=(3, 3, 8, 6))
    )
    kernel *= rng.random(kernel.shape) < 0.5
    layer.set_weights([kernel, np.zeros(6)])
    wrapper = clustering._wrapped(layer, 8, "linear", per_channel, False)
    for starts, zero in zip(
        np.atleast_2d(wrapper.cluster_centroids["kernel"].numpy()),
        np.atleast_1d(wrapper.zero_idx["kernel"]),
        strict=True,
    ):
        assert starts[zero] == 0 and np.count_nonzero(starts == 0) == 1
    np.testing.assert_array_equal(wrapper.sparsity_masks["kernel"], kernel != 0)


def test_channels_with_values_of_their_own(net, tmp_path):
    made = cluster(net, job(tmp_path, *DATA), clusters=4, epochs=2, per_channel=True)
    kernel = made.model.get_layer("first").get_weights()[0]
    assert all(np.unique(kernel[..., c]).size <= 4 for c in range(8))
    assert np.unique(kernel).size > 16
    assert np.unique(made.model.get_layer("wide").get_weights()[0]).size <= 4


@pytest.mark.parametrize("init", ["kmeans++", "linear", "density"])
def test_centroids_settle(init):
    """Each is the mean of what is nearest to it; k-means++ comes close to the best of all partitions."""
    weights = np.random.default_rng(7).normal(size=14).astype(np.float32)
    found = centroids(weights.reshape(7, 2), 3, init, sparse=False)
    nearest = np.abs(weights[:, None] - found).argmin(axis=1)
    for number, value in enumerate(found):
        assert value == pytest.approx(weights[nearest == number].mean(), abs=1e-6)
    ordered = np.sort(weights)
    best = min(
        sum(float(np.square(part - part.mean()).sum()) for part in np.split(ordered, cut))
        for cut in itertools.combinations(range(1, 14), 2)
    )
    assert np.square(weights - found[nearest]).sum() <= best * (1.05 if init == "kmeans++" else 3)


def test_centroids_of_sparse_and_of_few_weights():
    weights = np.array([0, 0, 0, -1, -1.1, 2, 2.1, 0, 3], np.float32)
    assert centroids(weights, 4, "kmeans++", sparse=True) == pytest.approx([-1.05, 0, 2.05, 3])
    assert centroids(np.array([1, 2], np.float32), 4, "kmeans++", sparse=False).tolist() == [1, 2, 2, 2]
    assert centroids(np.zeros(5, np.float32), 3, "density", sparse=True).tolist() == [0, 0, 0]


def test_no_training(net, tmp_path):
    made = cluster(net, job(tmp_path, *DATA), clusters=16, epochs=0)
    for name, kernel in kernels(made.model).items():
        assert np.unique(kernel).size <= 16
        if name != "first":  # which is scaled
            assert np.abs(kernel - kernels(net)[name]).max() < 0.5 * np.ptp(kernels(net)[name]) / 8
    assert not list(Path(tmp_path).iterdir())


def test_an_interrupted_clustering_goes_on(net, tmp_path, monkeypatch):
    whole = cluster(net, job(tmp_path / "whole", *DATA), clusters=8, epochs=2).model
    monkeypatch.setattr("edgepress_train.fit._CHECKPOINT_EVERY_S", 0.0)
    steps = iter(range(100))

    def stop(stage: str, done: int, total: int, note: str) -> None:
        if next(steps) > 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cluster(net, job(tmp_path / "cut", *DATA, progress=stop), clusters=8, epochs=2)
    again = cluster(net, job(tmp_path / "cut", *DATA), clusters=8, epochs=2).model
    for one, other in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


WRONG = [
    ({"clusters": 2}, "cluster takes 3 to 128 values, not 2"),
    ({"init": "random"}, "unknown init 'random'"),
    ({"clusters": 128}, "nothing of net can be clustered: none of its kernels has more than 128 values"),
]


@pytest.mark.parametrize(("options", "sentence"), WRONG)
def test_what_cannot_be_is_said_before_training(options, sentence, tmp_path):
    inputs = keras.Input((8, 8, 4))
    model = keras.Model(inputs, layers.Conv2D(4, 1)(inputs), name="net")
    with pytest.raises(EdgepressError) as error:
        clustering.check(model, job(tmp_path, *DATA), **options)
    assert error.value.what == sentence
