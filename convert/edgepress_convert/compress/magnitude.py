"""The pass `prune`: set the weights of least magnitude to zero while training goes on (TF-MOT's pruning)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgepress_convert.compress import kept_weights, prepare
from edgepress_convert.compress.job import Job
from edgepress_convert.compress.prepare import Dress
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras, tfmot

layers = keras.layers
# The kernel of each kind of layer that is pruned, by its place among the layer's weights. Depthwise kernels are few and
# each is all that its channel has, so they stay whole.
_KERNELS: dict[type, int] = {
    layers.Conv1D: 0,
    layers.Conv2D: 0,
    layers.Conv2DTranspose: 0,
    layers.Dense: 0,
    layers.SeparableConv1D: 1,
    layers.SeparableConv2D: 1,
}
_N_OF_M = (layers.Conv2D, layers.Dense, layers.SeparableConv2D)  # the others' kernels lie in another order
_DEFAULT = 0.8
_UPDATES = 100  # times that the masks are chosen anew
_GROWING = 2 / 3  # of the training; the rest heals at the full sparsity


@dataclass(frozen=True)
class _Pattern:
    """`block`: (inputs, outputs) that live or die together; `live`: (n, m), at most n of every m inputs live."""

    block: tuple[int, int] = (1, 1)
    live: tuple[int, int] | None = None


def prune(
    model: keras.Model,
    job: Job,
    *,
    sparsity: float = _DEFAULT,
    epochs: int = 5,
    pattern: str = "unstructured",
    schedule: str = "polynomial",
    adaptive: bool = False,
) -> keras.Model:
    """A plain copy of `model` with a share `sparsity` of each kernel at exactly zero, trained for `epochs` meanwhile.

    `pattern`: `unstructured`; `block-RxC`, blocks of R inputs x C outputs of dense layers; or `NofM`, as `2of4`, at
    most N of every M neighbours along the input channels live, which settles the share as 1 - N/M. `schedule`:
    `polynomial` (Zhu & Gupta 2017, arXiv:1710.01878, eq. 1: quickly at first) or `constant` (at once). `adaptive` gives
    each layer a share of its own, `sparsity` over all: the weights that matter least by LAMP go (Lee et al. 2021,
    arXiv:2010.07611), which spares small and narrow layers. Layers that are sparser already stay so. Zero epochs prune
    without training.
    """
    form = _pattern(pattern, sparsity, schedule, adaptive)
    plain = prepare.flat(model)
    chosen = _chosen(plain, form)
    targets = _targets({name: _kernel(plain.get_layer(name)) for name in chosen}, sparsity, adaptive)
    for text in _notes(plain, chosen):
        job.note(text)
    steps = epochs * job.steps_per_epoch
    wrappers = []

    def dressed(layer: keras.layers.Layer) -> Dress:
        if layer.name not in targets:
            return prepare.bare(layer)
        copy = prepare.copied(layer)
        variables = tuple(copy.weights)
        wrapper = tfmot.sparsity.keras.prune_low_magnitude(
            copy,
            _schedule(schedule, _sparsity(_kernel(layer)), targets[layer.name], steps),
            block_size=form.block,
            sparsity_m_by_n=None if form.live is None else (form.live[1] - form.live[0], form.live[1]),
        )
        wrappers.append(wrapper)
        return Dress((wrapper,), variables)

    trained = prepare.dress(plain, dressed)
    job.fine_tune(trained.model, epochs=epochs, callbacks=[tfmot.sparsity.keras.UpdatePruningStep()])
    if not steps:
        for wrapper in wrappers:
            wrapper.pruning_step.assign(1)
            wrapper.pruning_obj.conditional_mask_update()
            wrapper.pruning_obj.weight_mask_op()
    values = trained.values()
    for name in targets:
        place = _KERNELS[type(plain.get_layer(name))]
        values[name][place] = values[name][place] + 0.0  # a masked negative weight is -0.0
    prepare.undress(plain, values)
    return plain


def check(
    model: keras.Model,
    job: Job,
    *,
    sparsity: float = _DEFAULT,
    epochs: int = 5,
    pattern: str = "unstructured",
    schedule: str = "polynomial",
    adaptive: bool = False,
) -> None:
    """Whether the options make sense and any layer can be pruned so. Raises EdgepressError."""
    _chosen(prepare.flat(model), _pattern(pattern, sparsity, schedule, adaptive))


def shares(kernels: Mapping[str, np.ndarray], sparsity: float) -> dict[str, float]:
    """The share of each kernel that goes when `sparsity` of all weights go, least LAMP score first.

    The score of a weight is its square over the sum of the squares of those in its kernel that are at least as large
    (Lee et al. 2021, arXiv:2010.07611, eq. 5); the largest of each kernel has the score 1, so no kernel goes whole.
    """
    scores = {}
    for name, kernel in kernels.items():
        squares = np.sort(np.square(kernel.astype(np.float64)).reshape(-1))
        rest = np.cumsum(squares[::-1])[::-1]
        scores[name] = np.divide(squares, rest, out=np.zeros_like(squares), where=rest > 0)
    every = np.concatenate(list(scores.values()))
    owner = np.repeat(np.arange(len(scores)), [len(found) for found in scores.values()])
    gone = np.argsort(every, kind="stable")[: round(sparsity * len(every))]
    counts = np.bincount(owner[gone], minlength=len(scores))
    return {name: float(count / len(found)) for (name, found), count in zip(scores.items(), counts, strict=True)}


def _pattern(pattern: str, sparsity: float, schedule: str, adaptive: bool) -> _Pattern:
    if not 0 < sparsity < 1:
        raise EdgepressError(f"prune takes a share between 0 and 1, not {sparsity}", "write prune:0.8")
    if schedule not in ("polynomial", "constant"):
        raise EdgepressError(f"unknown schedule {schedule!r}", "known: polynomial, constant")
    block = re.fullmatch(r"block-(\d+)x(\d+)", pattern)
    live = re.fullmatch(r"(\d+)of(\d+)", pattern)
    if pattern != "unstructured" and adaptive:
        raise EdgepressError(f"adaptive goes with single weights, not with the pattern {pattern}", "leave one out")
    if block and min(int(n) for n in block.groups()) > 0:
        return _Pattern(block=(int(block[1]), int(block[2])))
    if live and 0 < int(live[1]) < int(live[2]):
        n, m = int(live[1]), int(live[2])
        if sparsity not in (_DEFAULT, 1 - n / m):
            raise EdgepressError(
                f"the pattern {pattern} makes {100 * (1 - n / m):g} % of the weights zero, not {100 * sparsity:g} %",
                f"write prune:{1 - n / m:g}:pattern={pattern}",
            )
        return _Pattern(live=(n, m))
    if pattern != "unstructured":
        raise EdgepressError(f"unknown pattern {pattern!r}", "known: unstructured, block-4x1 and the like, 2of4")
    return _Pattern()


def _chosen(plain: keras.Model, form: _Pattern) -> list[str]:
    """The layers that are pruned. Raises EdgepressError when there are none."""
    found = [layer for layer in plain.layers if type(layer) in _KERNELS]
    why = "it has no convolution but depthwise ones, and no dense layer"
    if form.block != (1, 1):
        found = [layer for layer in found if type(layer) is layers.Dense]
        why = "blocks are for dense layers, and it has none"
    if form.live is not None:
        found = [layer for layer in found if type(layer) in _N_OF_M and _kernel(layer).shape[-2] >= form.live[1]]
        why = f"no layer of it has {form.live[1]} input channels"
    if not found:
        raise EdgepressError(f"nothing of {plain.name} can be pruned so: {why}", "leave prune out, or choose pattern=")
    return [layer.name for layer in found]


def _kernel(layer: keras.layers.Layer) -> np.ndarray:
    return layer.get_weights()[_KERNELS[type(layer)]]


def _sparsity(kernel: np.ndarray) -> float:
    return float((kernel == 0).mean())


def _targets(kernels: Mapping[str, np.ndarray], sparsity: float, adaptive: bool) -> dict[str, float]:
    """The share of zeros that each kernel ends with; those that are all zero are left out."""
    wanted = shares(kernels, sparsity) if adaptive else dict.fromkeys(kernels, sparsity)
    return {name: max(wanted[name], _sparsity(k)) for name, k in kernels.items() if k.any()}


def _schedule(kind: str, now: float, target: float, steps: int) -> object:
    """TF-MOT's schedule from the sparsity `now` to `target`; its last choice of masks falls on its very last step."""
    schedules = tfmot.sparsity.keras
    if kind == "constant" or steps < 2:
        return schedules.ConstantSparsity(target, 0, -1, 1 if steps < 2 else max(1, steps // _UPDATES))
    end = max(1, int(steps * _GROWING))
    every = max(1, end // _UPDATES)
    end -= end % every
    return schedules.PolynomialDecay(min(now, target), target, 0, end, power=3, frequency=every)


def _notes(plain: keras.Model, chosen: list[str]) -> list[str]:
    told = []
    left = [layer for layer in plain.layers if layer.name not in chosen and prepare.has_kernel(layer)]
    if left:
        told.append(f"not pruned: {prepare.listed(left)}")
    if any(kept_weights.read(_kernel(plain.get_layer(name))).groups is not None for name in chosen):
        told.append("the weights are clustered, which training on undoes: cluster after pruning")
    return told
