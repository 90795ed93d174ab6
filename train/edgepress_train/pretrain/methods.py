"""From a method's name to the learner and the batches that it needs, for pictures and for sound alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_train import spec
from edgepress_train.data.order import Shuffled
from edgepress_train.keras2 import keras
from edgepress_train.models import parts
from edgepress_train.pretrain import learner, views
from edgepress_train.pretrain.objectives import PAIRED

# What tells of hidden parts: from the net, its decoder and the part of an input that it tells of
Decode = Callable[[keras.Model], tuple[keras.Model, Callable[[Any], Any]]]


@dataclass(frozen=True)
class Method:
    """A method with its options: `paired` is a loss between two views, `hide` what masks; both None with a teacher."""

    paired: Callable[[Any, Any], Any] | None = None
    hide: Callable[[Any, tuple[int, ...]], Any] | None = None


def method(text: str, masked: Mapping[str, Callable[..., Any]]) -> Method:
    """The method that `text` describes: an entry of `PAIRED` or of `masked`. Raises EdgepressError."""
    steps = spec.parse(text)
    if len(steps) != 1:
        raise EdgepressError(f"--method takes one method, got {text!r}", f"known: {', '.join((*PAIRED, *masked))}")
    function = spec.choose(steps[0], {**PAIRED, **masked}, kind="method")
    options = spec.bind(steps[0], function, kind="method")
    if steps[0].name in masked:
        return Method(hide=partial(function, **options))
    return Method(paired=partial(function, **options))


def learning(
    net: keras.Model,
    chosen: Method,
    gather: views.Gather,
    change: views.Change,
    order: Shuffled,
    *,
    projector: tuple[int, ...],
    decode: Decode,
    answers: np.ndarray | None,
    seed: int,
) -> tuple[learner.Learner, views.Batches]:
    """What is to be trained so that the encoder of the classifier `net` learns, and its batches, in this `order`.

    With `answers`, a teacher's embeddings of all examples, these are told, whatever the method.
    """
    if answers is not None:
        return (
            learner.following(parts.encoder(net), answers.shape[1]),
            views.told(gather, change, answers, order, seed=seed),
        )
    if chosen.paired is not None:
        return (
            learner.paired(parts.encoder(net), chosen.paired, projector),
            views.pairs(gather, change, seed=seed),
        )
    assert chosen.hide is not None
    decoder, crop = decode(net)
    return (
        learner.masking(parts.trunk(net), decoder, crop),
        views.hiding(gather, change, chosen.hide, seed=seed),
    )
