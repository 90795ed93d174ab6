"""The pass `cluster`: let the weights of a layer share a few values (TF-MOT's clustering)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgepress_convert.compress import kept_weights, prepare
from edgepress_convert.compress.job import Job
from edgepress_convert.compress.prepare import Dress
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras, tfmot

layers = keras.layers
# The kernel of each kind of layer that is clustered, by its name and its place among the layer's weights
_KERNELS: dict[type, tuple[str, int]] = {
    layers.Conv1D: ("kernel", 0),
    layers.Conv2D: ("kernel", 0),
    layers.Conv2DTranspose: ("kernel", 0),
    layers.Dense: ("kernel", 0),
    layers.SeparableConv1D: ("pointwise_kernel", 1),
    layers.SeparableConv2D: ("pointwise_kernel", 1),
}
_MAX = 256  # int8 has no more
_ROUNDS = 100


def cluster(
    model: keras.Model, job: Job, *, clusters: int = 16, epochs: int = 5, init: str = "kmeans++", per_channel: bool = False
) -> keras.Model:
    """A plain copy of `model` whose kernels have at most `clusters` different values each, trained for `epochs` so."""
    _refuse(clusters, init)
    plain = prepare.flat(model)
    chosen = _chosen(plain, clusters)
    wrappers: dict[str, Any] = {}

    def dressed(layer: keras.layers.Layer) -> Dress:
        copy = prepare.copied(layer)
        variables = tuple(copy.weights)
        if layer.name not in chosen:
            return Dress((copy,), variables)
        name, place = _KERNELS[type(layer)]
        kernel = layer.get_weights()[place]
        sparse = kept_weights.read(kernel).zeros is not None
        apart = per_channel and type(layer) is layers.Conv2D
        wrapper = tfmot.clustering.keras.cluster_weights(
            copy, clusters, tfmot.clustering.keras.CentroidInitialization.LINEAR,
            preserve_sparsity=sparse, cluster_per_channel=apart,
        )
        wrapper.build(layer.input_shape)
        wrapper.cluster_centroids[name].assign(centroids(kernel, clusters, init, sparse))
        wrappers[layer.name] = wrapper
        return Dress((wrapper,), variables)

    trained = prepare.dress(plain, dressed)
    job.fine_tune(trained.model, epochs=epochs)
    values = trained.values()
    for lname, wrapper in wrappers.items():
        name, place = _KERNELS[type(plain.get_layer(lname))]
        wrapper.update_clustered_weights_associations()
        values[lname][place] = np.asarray(wrapper.get_weight_from_layer(name))
    prepare.undress(plain, values)
    return plain


def centroids(kernel: np.ndarray, clusters: int, init: str, sparse: bool) -> np.ndarray:
    """`clusters` values near which the weights of `kernel` lie, ascending, (clusters,) float32. With `sparse` one is 0.

    Begun as `init` says, then moved to the means of what is nearest until nothing changes (Lloyd 1982).
    """
    values = np.sort(kernel.reshape(-1).astype(np.float64))
    if sparse:
        values = values[values != 0]
    count = clusters - sparse
    different = np.unique(values)
    if len(different) <= count:
        found = np.concatenate([different, np.full(count - len(different), different[-1])])
    else:
        found = _refined(values, _STARTS[init](values, count))
    return np.sort(np.concatenate([found, np.zeros(int(sparse))])).astype(np.float32)


def _linear(values: np.ndarray, count: int) -> np.ndarray:
    return np.linspace(values[0], values[-1], count)


def _density(values: np.ndarray, count: int) -> np.ndarray:
    return np.quantile(values, (np.arange(count) + 0.5) / count)


def _kmeans(values: np.ndarray, count: int) -> np.ndarray:
    """k-means++ (Arthur & Vassilvitskii 2007): each next one by chance, the likelier the farther from those before."""
    rng = np.random.default_rng(0)
    found = [rng.choice(values)]
    apart = np.square(values - found[0])
    for _ in range(count - 1):
        found.append(rng.choice(values, p=apart / apart.sum()))
        apart = np.minimum(apart, np.square(values - found[-1]))
    return np.sort(found)


_STARTS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "kmeans++": _kmeans,
    "linear": _linear,
    "density": _density,
}


def _refined(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(_ROUNDS):
        ends = np.searchsorted(values, (found[1:] + found[:-1]) / 2)
        ends = np.concatenate([[0], ends, [len(values)]])
        sizes = np.diff(ends)
        new = np.where(sizes > 0, np.diff(sums[ends]) / np.maximum(sizes, 1), found)
        if np.array_equal(new, found):
            break
        found = new
    return found


def _refuse(clusters: int, init: str) -> None:
    if not 3 <= clusters <= _MAX:
        raise EdgepressError(f"cluster takes 3 to {_MAX} clusters, not {clusters}", "write cluster:16")
    if init not in _STARTS:
        raise EdgepressError(f"unknown init {init!r}", f"known: {', '.join(_STARTS)}")


def _chosen(plain: keras.Model, clusters: int) -> list[str]:
    found = [l for l in plain.layers if type(l) in _KERNELS and np.unique(l.get_weights()[_KERNELS[type(l)][1]]).size > clusters]
    if not found:
        raise EdgepressError(f"nothing of {plain.name} can be clustered", "leave cluster out")
    return [l.name for l in found]
