"""The pass `cluster`: let the weights of a layer share a few values (TF-MOT's clustering).

What counts is how few different integers the .tflite holds. It has one scale for each channel of a convolution, so a
value shared by all channels becomes another integer in each channel that has another greatest weight: on a keyword
spotter 16 values became 44 to 64 integers. Hence a convolution is first scaled, channel by channel, to one greatest
weight, which the normalisation behind it takes back, and the two ends of its values are made opposite: 16 values are
16 integers then, as long as training leaves every channel a weight at either end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from edgepress_convert.compress import Candidate, kept_weights, prepare, rounding
from edgepress_convert.compress.job import Job
from edgepress_convert.compress.prepare import Dress, Dressed
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras, tfmot

layers = keras.layers
# Depthwise kernels are few, and clustering ruins them, as TF-MOT found too.
_KINDS = (layers.Conv1D, layers.Conv2D, layers.Conv2DTranspose, layers.Dense)
_ROUNDS = 200  # of Lloyd's method at most


def cluster(
    model: keras.Model,
    job: Job,
    *,
    clusters: int = 16,
    epochs: int = 5,
    init: str = "kmeans++",
    per_channel: bool = False,
) -> Candidate:
    """A plain copy of `model` whose kernels have at most `clusters` different values each, trained for `epochs` so.

    Kernels of convolutions and dense layers, not of depthwise ones; zeros stay zero and are one of the values. `init`:
    where the values begin, `kmeans++`, `linear` or `density`; they then move to the means of the weights nearest to
    them, and are trained. `per_channel` gives each channel of a Conv2D values of its own: nearer to the weights, but
    then nothing deflates. Dense layers are to have one scale for all channels (plan `per-tensor-dense`), or
    each channel would make other integers of the values.
    """
    _refuse(clusters, init)
    plain, parts, chosen = _opened(model, clusters)
    left = [x for x in parts.model.layers if prepare.has_kernel(x) and type(x) not in _KINDS]
    if left:
        job.note(f"not clustered: {prepare.listed(left)}")
    even = set() if per_channel else _leveled(parts.model, job) & set(chosen)
    wrappers: dict[str, Any] = {}

    def dressed(layer: keras.layers.Layer) -> Dress:
        if layer.name not in chosen:
            return prepare.bare(layer)
        copy = prepare.copied(layer)
        variables = tuple(copy.weights)
        wrapper = _wrapped(copy, clusters, init, per_channel, layer.name in even)
        wrappers[layer.name] = wrapper
        return Dress((wrapper,), variables)

    trained = prepare.dress(parts.model, dressed)
    job.fine_tune(trained.model, epochs=epochs)
    values = trained.values()
    for name, wrapper in wrappers.items():
        wrapper.update_clustered_weights_associations()
        kernel = np.asarray(wrapper.get_weight_from_layer("kernel"))
        values[name][0] = squared(kernel) if name in even else kernel
    prepare.undress(parts.model, values)
    prepare.undress(plain, parts.values())
    dense = any(isinstance(plain.get_layer(name), layers.Dense) for name in chosen)
    plan = replace(job.plan, weights="per-tensor-dense") if dense and job.plan.weights == "per-channel" else job.plan
    return Candidate(plain, plan)


def check(
    model: keras.Model,
    job: Job,
    *,
    clusters: int = 16,
    epochs: int = 5,
    init: str = "kmeans++",
    per_channel: bool = False,
) -> None:
    """Whether the options make sense and any layer can be clustered. Raises EdgepressError."""
    _refuse(clusters, init)
    _opened(model, clusters)


def centroids(weights: np.ndarray, clusters: int, init: str, *, sparse: bool) -> np.ndarray:
    """`clusters` values that `weights` lie near, ascending float32; with `sparse` one of them is zero.

    Begun as `init` says, then each moved to the mean of the weights nearest to it until none moves (Lloyd 1982).
    """
    values = np.sort(weights.reshape(-1).astype(np.float64))
    if sparse:
        values = values[values != 0]
    count = clusters - int(sparse)
    different = np.unique(values)
    if len(different) <= count:
        spare = different[-1] if len(different) else 0.0
        found = np.concatenate([different, np.full(count - len(different), spare)])
    else:
        rng = np.random.default_rng(0)
        tries = [_settled(values, np.sort(_STARTS[init](values, count, rng))) for _ in range(_TRIES[init])]
        found = min(tries, key=lambda one: _apart(values, one))
    return np.sort(np.concatenate([found, np.zeros(int(sparse))])).astype(np.float32)


def squared(values: np.ndarray) -> np.ndarray:
    """`values` with the least and the greatest made opposite, at the mean of their magnitudes."""
    low, high = values.min(), values.max()
    if not low < 0 < high:
        return values
    end = (high - low) / 2
    return np.where(values == low, -end, np.where(values == high, end, values))


def _linear(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.linspace(values[0], values[-1], count)


def _density(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    return np.quantile(values, (np.arange(count) + 0.5) / count)


def _kmeans(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Each drawn from the weights, the likelier the farther from those before (Arthur & Vassilvitskii 2007)."""
    found = [rng.choice(values)]
    apart = np.square(values - found[0])
    for _ in range(count - 1):
        found.append(rng.choice(values, p=apart / apart.sum()))
        apart = np.minimum(apart, np.square(values - found[-1]))
    return np.array(found)


_STARTS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    "kmeans++": _kmeans,
    "linear": _linear,
    "density": _density,
}
_TRIES = {"kmeans++": 5, "linear": 1, "density": 1}  # the best of so many


def _apart(values: np.ndarray, found: np.ndarray) -> float:
    """The sum of the squared distances of sorted `values` to what is nearest of the sorted `found`."""
    nearest = found[np.searchsorted((found[1:] + found[:-1]) / 2, values)]
    return float(np.square(values - nearest).sum())


def _settled(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Lloyd's method on sorted `values`, where the weights nearest to one lie between the middles to its neighbours."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(_ROUNDS):
        ends = np.concatenate([[0], np.searchsorted(values, (found[1:] + found[:-1]) / 2), [len(values)]])
        sizes = np.diff(ends)
        moved = np.where(sizes > 0, np.diff(sums[ends]) / np.maximum(sizes, 1), found)
        if np.array_equal(moved, found):
            break
        found = moved
    return found


def _wrapped(layer: keras.layers.Layer, clusters: int, init: str, per_channel: bool, even: bool) -> Any:
    """TF-MOT's wrapper around the built `layer`, with the centroids that it begins from."""
    kernel = layer.get_weights()[0]
    sparse = kept_weights.read(kernel).zeros is not None
    # TF-MOT clusters channels of Conv2D alone, and fails at a channel of nothing but zeros.
    apart = per_channel and type(layer) is layers.Conv2D and bool(kernel.any(axis=(0, 1, 2)).all())
    clustering = tfmot.clustering.keras
    # The function that wraps takes the kernel of a convolution without bias for its channels, and leaves it alone; the
    # class is not public, so it is had from a layer without weights.
    wrap = type(clustering.cluster_weights(layers.ReLU(), clusters))
    wrapper = wrap(
        layer,
        clusters,
        # TF-MOT's other ways to begin fail where there are fewer weights than clusters.
        clustering.CentroidInitialization.LINEAR,
        preserve_sparsity=sparse,
        cluster_per_channel=apart,
    )
    wrapper.build(layer.get_build_config()["input_shape"])
    if apart:
        start = np.stack([centroids(kernel[..., c], clusters, init, sparse=sparse) for c in range(kernel.shape[-1])])
        zero = np.argmin(np.abs(start), axis=-1)
    else:
        start = centroids(kernel, clusters, init, sparse=sparse)
        start = squared(start) if even else start
        zero = np.argmin(np.abs(start))
    wrapper.cluster_centroids["kernel"].assign(start)
    if sparse:
        wrapper.zero_idx["kernel"] = zero
        wrapper.sparsity_masks["kernel"] = np.asarray(kernel != 0, np.float32)
    return wrapper


def _leveled(model: keras.Model, job: Job) -> set[str]:
    """Scale each channel of each convolution of `model` that a normalisation follows to the greatest weight 1.

    The normalisation takes the scale back: mean / s, variance / s^2, and gamma such that epsilon counts as before, so
    answers stay equal up to rounding. The names of the convolutions.
    """
    done = set()
    for name, follower in rounding.places(model, job.plan).folds.items():
        layer, norm = model.get_layer(name), model.get_layer(follower)
        if type(layer) not in (layers.Conv1D, layers.Conv2D) or not norm.scale:
            continue
        kernel, *bias = layer.get_weights()
        scale = np.abs(kernel).reshape(-1, kernel.shape[-1]).max(axis=0)
        scale = np.where(scale > 0, scale, 1.0).astype(np.float32)
        gamma, *beta, mean, variance = norm.get_weights()
        new = variance / scale**2
        gamma = gamma * np.sqrt((new + norm.epsilon) * scale**2 / (variance + norm.epsilon))
        layer.set_weights([kernel / scale, *(b / scale for b in bias)])
        norm.set_weights([gamma, *beta, mean / scale, new])
        done.add(name)
    return done


def _opened(model: keras.Model, clusters: int) -> tuple[keras.Model, Dressed, list[str]]:
    """`model` flat, in parts, and the names of the parts to cluster. Raises EdgepressError when there are none."""
    plain = prepare.flat(model)
    parts = prepare.dress(plain, prepare.split)
    found = [x for x in parts.model.layers if type(x) in _KINDS]
    chosen = [x.name for x in found if np.unique(x.get_weights()[0]).size > clusters]
    if not chosen:
        why = f"none of its kernels has more than {clusters} values" if found else "it has no layer of the kind"
        raise EdgepressError(f"nothing of {plain.name} can be clustered: {why}", "leave cluster out of the recipe")
    return plain, parts, chosen


def _refuse(clusters: int, init: str) -> None:
    if not 3 <= clusters <= kept_weights.MAX_CLUSTERS:
        raise EdgepressError(
            f"cluster takes 3 to {kept_weights.MAX_CLUSTERS} values, not {clusters}", "write cluster:16"
        )
    if init not in _STARTS:
        raise EdgepressError(f"unknown init {init!r}", f"known: {', '.join(_STARTS)}")
