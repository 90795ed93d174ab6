"""Barlow Twins: the two views' projections should correlate dimension by dimension, and with no other dimension.

Zbontar et al. 2021, arXiv:2103.03230, equations 1 and 2.
"""

from __future__ import annotations

import tensorflow as tf


def loss(first, second, *, redundancy: float = 0.005):
    """sum_i (1 - C_ii)^2 + redundancy * sum_{i != j} C_ij^2, over the width: (n, width) twice, float32 -> ().

    C is the cross-correlation of the two over the batch. The paper's sum is divided by the width, so that the
    learning rate need not follow it.
    """
    n, width = tf.cast(tf.shape(first)[0], tf.float32), tf.cast(tf.shape(first)[1], tf.float32)
    correlation = tf.matmul(_standard(first), _standard(second), transpose_a=True) / n
    diagonal = tf.linalg.diag_part(correlation)
    others = tf.reduce_sum(correlation**2) - tf.reduce_sum(diagonal**2)
    return (tf.reduce_sum((1 - diagonal) ** 2) + redundancy * others) / width


def _standard(x):
    """Each column with mean 0 and deviation 1 over the batch."""
    mean, variance = tf.nn.moments(x, axes=[0])
    return (x - mean) / tf.sqrt(variance + 1e-5)
