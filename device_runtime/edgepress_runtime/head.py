"""The last layer of a classifier, in numpy: scores are `softmax(embedding @ weights + bias)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgepress_runtime import archive
from edgepress_runtime.errors import BundleError, EdgepressError
from edgepress_runtime.golden import plain_array
from edgepress_runtime.teaching import HEAD
from edgepress_runtime.tensors import reading

if TYPE_CHECKING:
    from edgepress_runtime.bundle import Bundle
    from edgepress_runtime.manifest import Manifest, TensorSpec

_REMEDY = "make the bundle again"


@dataclass(frozen=True)
class Head:
    """`weights` (d, classes) and `bias` (classes,), both float32."""

    weights: np.ndarray
    bias: np.ndarray

    def logits(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, d) float32 -> (n, classes) float32, each row by itself, so that it does not depend on the others."""
        return np.stack([row @ self.weights + self.bias for row in embeddings])

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, d) float32 -> (n, classes) float32 that sum to 1. Raises EdgepressError for what is no number."""
        scores = softmax(self.logits(embeddings))
        if not np.isfinite(scores).all():
            raise EdgepressError(
                "the model answered with something that is no number (NaN or infinite)", "train or convert it again"
            )
        return scores


@dataclass(frozen=True)
class Examples:
    """Embeddings (n, d) float32 with the number of each one's class, (n,) int64; -1 for what belongs to none."""

    embeddings: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> Examples:
        return Examples(self.embeddings[index], self.labels[index])


def softmax(logits: np.ndarray) -> np.ndarray:
    """(n, classes) -> (n, classes), each row's exponentials over their sum."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def embedding_of(manifest: Manifest) -> TensorSpec:
    """The output that is the embedding. Raises EdgepressError for a model that was not made to be taught."""
    if manifest.teaching is None:
        raise EdgepressError(
            f"{manifest.name} was not made to be taught",
            "make its bundle with: edgepress convert RUN --teachable --out X.edge",
        )
    return manifest.outputs[manifest.teaching.output]


def read(bundle: Bundle) -> tuple[Head, Examples]:
    """The last layer that a bundle brings, and the embeddings of training examples that keep its classes in mind.

    Raises EdgepressError for a model that was not made to be taught, BundleError for a `head.npz` that does not fit it.
    """
    tensor = embedding_of(bundle.manifest)
    spec = bundle.manifest.teaching
    assert spec is not None
    size, classes = spec.size, len(bundle.manifest.labels)
    members = archive.read_members(bundle.members[HEAD], HEAD)
    if members.keys() != {"weights.npy", "bias.npy", "kept.npy", "kept_labels.npy"}:
        raise BundleError(f"{HEAD} should hold 'weights', 'bias', 'kept' and 'kept_labels'", _REMEDY)
    arrays = {name[:-4]: plain_array(data, name[:-4], HEAD) for name, data in members.items()}
    count = len(arrays["kept"])
    wanted = {
        "weights": ("float32", (size, classes)),
        "bias": ("float32", (classes,)),
        "kept": (tensor.dtype, (count, size)),
        "kept_labels": ("int32", (count,)),
    }
    for name, (dtype, shape) in wanted.items():
        found = arrays[name]
        if (found.dtype.name, found.shape) != (dtype, shape):
            raise BundleError(
                f"'{name}' in {HEAD} is {found.dtype.name} {list(found.shape)}, not {dtype} {list(shape)}"
            )
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise BundleError(f"'{name}' in {HEAD} holds something that is no number", _REMEDY)
    labels = arrays["kept_labels"].astype(np.int64)
    counts = [int((labels == number).sum()) for number in range(-1, classes)]
    if sum(counts) != count or min(counts[1:]) < 2:
        raise BundleError(f"{HEAD} does not hold two examples or more of every class", _REMEDY)
    return Head(arrays["weights"], arrays["bias"]), Examples(reading(tensor)(arrays["kept"]), labels)
