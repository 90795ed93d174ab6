"""Training few of a net's weights: `--tune head|bias|lora:RANK|adapter:DIM`; the classifier always learns.

Whatever is tuned, batch normalisation keeps the statistics that the net brought: they are estimates and not weights, a
handful of examples estimates them badly, and with them fixed every method here is exactly what it says it trains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_train import spec
from edgepress_train.keras2 import keras
from edgepress_train.models import adapters, lora
from edgepress_train.models.parts import classifier

layers = keras.layers


@dataclass(frozen=True)
class Tuned:
    """`model` is to be trained: `trained` of its weights learn. `finish` then gives the model to be saved.

    `left_out`: what the method cannot reach, and why. The model of `finish` has plain layers only.
    """

    model: keras.Model
    finish: Callable[[], keras.Model]
    trained: int
    left_out: tuple[str, ...] = ()


class _Chosen(keras.Model):
    """A functional model of which only `chosen` weights are trained, whatever their layers say."""

    chosen: Sequence[Any] = ()

    @property
    def trainable_weights(self):
        return list(self.chosen)

    @property
    def non_trainable_weights(self):
        chosen = {id(weight) for weight in self.chosen}
        return [weight for layer in self.layers for weight in layer.weights if id(weight) not in chosen]


def tune(model: keras.Model, text: str) -> Tuned:
    """`model`, a classifier, to be tuned as `text` says: an entry of METHODS. Raises EdgepressError."""
    steps = spec.parse(text)
    if len(steps) != 1:
        raise EdgepressError(f"--tune takes one method, got {text!r}", f"known: {', '.join(METHODS)}")
    function = spec.choose(steps[0], METHODS, kind="way of tuning")
    return function(model, **spec.bind(steps[0], function, kind="way of tuning"))


def check(text: str, init: str) -> None:
    """Raise EdgepressError for a way of tuning that is unknown, or that has nothing to start from."""
    steps = spec.parse(text)
    if len(steps) != 1:
        raise EdgepressError(f"--tune takes one method, got {text!r}", f"known: {', '.join(METHODS)}")
    function = spec.choose(steps[0], METHODS, kind="way of tuning")
    for name, value in spec.bind(steps[0], function, kind="way of tuning").items():
        if value < 1:
            raise EdgepressError(f"--tune {text}: {name} is {value}", "give a number from 1 up")
    if function is not full and not init:
        raise EdgepressError(
            f"--tune {text} changes little of a net, so it needs one that has learned something",
            "give --init RUN, or --tune full",
        )


def describe(tuned: Tuned) -> dict[str, Any]:
    """What `run.json` says of it among its metrics."""
    told: dict[str, Any] = {"trained_params": tuned.trained}
    return {**told, "left_out": list(tuned.left_out)} if tuned.left_out else told


def full(model: keras.Model) -> Tuned:
    """All weights learn, and batch normalisation its statistics."""
    return Tuned(model, lambda: model, _count(model.trainable_weights))


def head(model: keras.Model) -> Tuned:
    """The classifier alone learns."""
    return _few(model, model, [])


def bias(model: keras.Model) -> Tuned:
    """Biases learn, and what batch normalisation adds, which is the bias of a convolution without one.

    Ben Zaken et al. 2022, arXiv:2106.10199 (BitFit).
    """
    chosen = []
    for layer in model.layers:
        for name in ("bias", "beta"):
            variable = getattr(layer, name, None)
            if variable is not None and hasattr(variable, "assign"):
                chosen.append(variable)
    return _few(model, model, chosen)


def with_lora(model: keras.Model, *, rank: int = 4) -> Tuned:
    """Every convolution and Dense layer but the classifier gets an addition of `rank`, merged into it by `finish`."""
    wide, left_out = lora.widened(model, rank, keep=classifier(model).name)
    chosen = [weight for layer in wide.layers for weight in lora.additions(layer)]

    def finish() -> keras.Model:
        lora.merge(wide, model)
        return model

    return _few(wide, model, chosen, finish=finish, left_out=left_out)


def with_adapters(model: keras.Model, *, dim: int = 8) -> Tuned:
    """A residual bottleneck of `dim` channels behind each block learns, and stays in the model."""
    longer = adapters.inserted(model, dim)
    chosen = [weight for layer in longer.layers if adapters.is_adapter(layer) for weight in layer.weights]
    return _few(longer, longer, chosen)


METHODS: dict[str, Callable[..., Tuned]] = {
    "full": full,
    "head": head,
    "bias": bias,
    "lora": with_lora,
    "adapter": with_adapters,
}


def _few(
    model: keras.Model,
    result: keras.Model,
    chosen: Sequence[Any],
    *,
    finish: Callable[[], keras.Model] | None = None,
    left_out: tuple[str, ...] = (),
) -> Tuned:
    """`model` with `chosen` and its classifier's weights learning, and batch normalisation's statistics at rest."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False  # in Keras this is inference mode, also in training
    own = classifier(model).weights
    taken = {id(weight) for weight in own}
    tuned = _Chosen(model.inputs, model.outputs, name=model.name)
    tuned.chosen = [*(weight for weight in chosen if id(weight) not in taken), *own]

    def done() -> keras.Model:
        finished = finish() if finish else result
        for layer in finished.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.trainable = True  # for whoever trains it next
        return finished

    return Tuned(tuned, done, _count(tuned.chosen), left_out)


def _count(weights: Sequence[Any]) -> int:
    return int(sum(np.prod(weight.shape) for weight in weights))
