"""SimCLR: each view should find its twin among all other views of the batch (Chen et al. 2020, arXiv:2002.05709)."""

from __future__ import annotations

import tensorflow as tf


def loss(first, second, *, temperature: float = 0.2):
    """NT-Xent, equation 1 of the paper, averaged over the 2n views: (n, width), (n, width) float32 -> ().

    The temperature divides cosines; the paper found 0.1 to 0.5 good, lower for larger batches.
    """
    n = tf.shape(first)[0]
    views = tf.math.l2_normalize(tf.concat([first, second], axis=0), axis=1)
    likeness = tf.matmul(views, views, transpose_b=True) / temperature
    likeness -= 1e9 * tf.eye(2 * n)  # no view is its own twin
    twins = tf.concat([tf.range(n, 2 * n), tf.range(n)], axis=0)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(twins, likeness))
