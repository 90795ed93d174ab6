"""How good a representation is while it grows: the k nearest neighbours in it, on examples whose labels are known.

Wu et al. 2018, arXiv:1805.01978, section 3.4. Labels are looked at here only; nothing is learned from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgepress_train.fit import Fitted
from edgepress_train.keras2 import keras

NEIGHBOURS, TEMPERATURE = 20, 0.1
BANK, ASKED = 4000, 1000  # how many examples are known, and how many are asked


@dataclass(frozen=True)
class Slice:
    """Examples with labels: `known` (n, *input) and `asked` (m, *input) float32, as the net takes them."""

    known: np.ndarray
    known_labels: np.ndarray
    asked: np.ndarray
    asked_labels: np.ndarray


def chosen(labels: np.ndarray, most: int) -> np.ndarray:
    """At most `most` indexes into `labels`, sorted, always the same ones, every class in its share."""
    order = np.random.default_rng(0).permutation(len(labels))
    return np.sort(order[:most])


def accuracy(known: np.ndarray, labels: np.ndarray, asked: np.ndarray, truth: np.ndarray) -> float:
    """The share of `asked` (m, width) whose nearest `known` (n, width) vote for `truth` (m,), by weights exp(cos / T).

    `labels` (n,) int are those of `known`. Embeddings are centred on the mean of `known` first, since all those behind
    a ReLU point into one corner.
    """
    middle = known.mean(axis=0)
    known, asked = _unit(known - middle), _unit(asked - middle)
    k = min(NEIGHBOURS, len(known))
    right = 0
    for start in range(0, len(asked), 256):
        cosines = asked[start : start + 256] @ known.T
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        weights = np.exp(np.take_along_axis(cosines, nearest, axis=1) / TEMPERATURE)
        votes = np.zeros((len(cosines), int(labels.max()) + 1))
        np.add.at(votes, (np.arange(len(cosines))[:, None], labels[nearest]), weights)
        right += int((votes.argmax(axis=1) == truth[start : start + 256]).sum())
    return right / len(asked)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)


def probe(encoder: keras.Model, examples: Slice) -> float:
    """`accuracy` of what `encoder` makes of `examples`."""
    known, asked = (encoder.predict(part, batch_size=256, verbose=0) for part in (examples.known, examples.asked))
    return accuracy(known, examples.known_labels, asked, examples.asked_labels)


class Probing(keras.callbacks.Callback):
    """Adds `probe` to what is told of every epoch; it must come before the callback that writes the history."""

    def __init__(self, encoder: keras.Model, ask: Callable[[keras.Model], float]) -> None:
        super().__init__()
        self._encoder, self._ask = encoder, ask

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if logs is not None:
            logs["probe"] = self._ask(self._encoder)


def watching(encoder: keras.Model, examples: Slice | None) -> Sequence[keras.callbacks.Callback]:
    """The callbacks that a pretraining with this labelled slice needs: none without one."""
    return () if examples is None else (Probing(encoder, lambda net: probe(net, examples)),)


def describe(encoder: keras.Model, fitted: Fitted, examples: Slice | None) -> dict[str, Any]:
    """What `run.json` says of a pretrained `encoder`: how long it learned, its size, its probe (None without one)."""
    return {
        "epochs": fitted.epochs,
        "kept_epoch": fitted.kept_epoch,
        "train_seconds": round(fitted.seconds, 1),
        "params": int(encoder.count_params()),
        "embedding": int(encoder.output_shape[-1]),
        "probe": None if examples is None else probe(encoder, examples),
    }
