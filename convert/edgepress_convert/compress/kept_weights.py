"""What must be kept of a model's weights, read from the weights themselves: zeros, N:M patterns, shared values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

# More shared values than these are no clusters: int8 weights turned back into floats have up to 255.
MAX_CLUSTERS = 128
_LEAST = 0.01  # of a kernel's weights; fewer zeros are there by chance
_BLOCKS = (4, 8, 16)


@dataclass(frozen=True)
class Kept:
    """What one kernel has that training must not take from it.

    `zeros`: where it is zero, bool of its shape; None for a dense one. `groups`: int32 of its shape, weights of the
    same number share one value (zeros have a number of their own); None where values are not shared. `clusters`: how
    many values other than zero are shared, in one channel where each channel has its own. `per_channel` says which.
    `ends`: the groups of the least and the greatest value where these are opposite, which lets channels share a scale;
    None where they are not. `pattern`: (n, m) where at most n of every m weights along the inputs differ from zero.
    """

    zeros: np.ndarray | None = None
    groups: np.ndarray | None = None
    clusters: int = 0
    per_channel: bool = False
    ends: tuple[int, int] | None = None
    pattern: tuple[int, int] | None = None

    @property
    def sparsity(self) -> float:
        """Share of zeros, 0 to 1."""
        return 0.0 if self.zeros is None else float(self.zeros.mean())


def read(kernel: np.ndarray) -> Kept:
    """What is to be kept of `kernel` (..., inputs, outputs) float.

    Trained weights hit zero or each other by intention, or once in millions, so zeros count from a share of 1 % on,
    unless all are zero (a layer that was begun so). Values count as shared when there are at most MAX_CLUSTERS, each
    used twice or more on average, in the whole kernel or else in every channel of its last axis.
    """
    zeros = kernel == 0
    sparse = bool(zeros.mean() >= _LEAST and not zeros.all())
    groups, clusters = _shared(kernel)
    per_channel = False
    if groups is None and kernel.ndim > 1:
        each = [_shared(kernel[..., c], dead=bool(kernel.any())) for c in range(kernel.shape[-1])]
        found = [one for one, _ in each if one is not None]
        if each and len(found) == len(each):
            # Numbers of one channel come behind those of the channels before it
            first = np.cumsum([0] + [int(one.max()) + 1 for one in found[:-1]])
            groups = np.stack([one + offset for one, offset in zip(found, first, strict=True)], axis=-1)
            clusters, per_channel = max(count for _, count in each), True
    return Kept(
        zeros=zeros if sparse else None,
        groups=None if groups is None else groups.astype(np.int32),
        clusters=clusters if groups is not None else 0,
        per_channel=per_channel,
        ends=None if groups is None or per_channel else _ends(kernel, groups),
        pattern=pattern(kernel) if sparse else None,
    )


def pattern(kernel: np.ndarray) -> tuple[int, int] | None:
    """(n, m), m 4, 8 or 16: at most n < m of each m weights along the inputs of `kernel` (..., inputs, outputs) live.

    Blocks begin at the first input of each place of a convolution, as in LiteRT's layout (outputs, height, width,
    inputs), where they lie side by side. None when there is no such pattern.
    """
    for size in _BLOCKS:
        if kernel.ndim < 2 or kernel.shape[-2] < size:
            return None
        blocks = in_blocks(kernel != 0, size)
        live = int(blocks.sum(axis=-2).max())
        if 0 < live < size:
            return live, size
    return None


def in_blocks(values: np.ndarray, size: int) -> np.ndarray:
    """(..., inputs, outputs) as (..., blocks, size, outputs), the last block filled up with zeros."""
    short = -values.shape[-2] % size
    padded = np.pad(values, [(0, 0)] * (values.ndim - 2) + [(0, short), (0, 0)])
    return padded.reshape(*values.shape[:-2], -1, size, values.shape[-1])


def held(weights: tf.Tensor, kept: Kept) -> tf.Tensor:
    """`weights` with zeros at zero and each group at its mean; gradients flow accordingly, as to the group's value."""
    if kept.groups is not None:
        numbers = int(kept.groups.max()) + 1
        flat = kept.groups.reshape(-1)
        sums = tf.math.unsorted_segment_sum(tf.reshape(weights, [-1]), flat, numbers)
        means = sums / np.bincount(flat, minlength=numbers).astype(np.float32)
        if kept.ends is not None:
            low, high = kept.ends
            end = (means[high] - means[low]) / 2
            means = tf.tensor_scatter_nd_update(means, [[low], [high]], [-end, end])
        weights = tf.gather(means, kept.groups)
    if kept.zeros is not None:
        weights = weights * np.asarray(~kept.zeros, np.float32)
    return weights


def _shared(values: np.ndarray, *, dead: bool = False) -> tuple[np.ndarray | None, int]:
    """The number of each value of `values` and how many other than zero there are; (None, 0) where few are shared.

    With `dead` nothing but zeros is shared, too.
    """
    different, numbers = np.unique(values, return_inverse=True)
    count = int((different != 0).sum())
    live = int((values != 0).sum())
    # All equal is how some layers begin, so one value is no cluster.
    if (1 < count <= MAX_CLUSTERS and 2 * count <= live) or (dead and not live):
        return numbers.reshape(values.shape), count
    return None, 0


def _ends(kernel: np.ndarray, groups: np.ndarray) -> tuple[int, int] | None:
    low, high = kernel.min(), kernel.max()
    if -low != high:
        return None
    return int(groups.flat[kernel.argmin()]), int(groups.flat[kernel.argmax()])
