"""VICReg: views alike (invariance), every dimension in use (variance), none a copy of another (covariance).

Bardes, Ponce & LeCun 2022, arXiv:2105.04906, equations 1 to 6.
"""

from __future__ import annotations

import tensorflow as tf


def loss(first, second, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0):
    """The three terms with the paper's weights: (n, width), (n, width) float32 -> ()."""
    alike = tf.reduce_mean((first - second) ** 2)
    spread = (_hinge(first) + _hinge(second)) / 2
    apart = _covariance(first) + _covariance(second)
    return invariance * alike + variance * spread + covariance * apart


def _hinge(x):
    """How far the deviations over the batch fall short of 1, on average (equations 1 and 2; halved by the caller)."""
    centred = x - tf.reduce_mean(x, axis=0)
    n = tf.cast(tf.shape(x)[0], tf.float32)
    deviation = tf.sqrt(tf.reduce_sum(centred**2, axis=0) / (n - 1) + 1e-4)
    return tf.reduce_mean(tf.nn.relu(1 - deviation))


def _covariance(x):
    """The squared covariances of different dimensions, their sum divided by the width (equations 3 and 4)."""
    n, width = tf.cast(tf.shape(x)[0], tf.float32), tf.cast(tf.shape(x)[1], tf.float32)
    centred = x - tf.reduce_mean(x, axis=0)
    matrix = tf.matmul(centred, centred, transpose_a=True) / (n - 1)
    return (tf.reduce_sum(matrix**2) - tf.reduce_sum(tf.linalg.diag_part(matrix) ** 2)) / width
