"""Regression of a teacher's embeddings: what it knows of an example, without asking it for any class.

The simplest form of distilling a self-supervised teacher (Koohpayegani et al. 2020, arXiv:2010.14713, section 4, call
it regression).
"""

from __future__ import annotations

import tensorflow as tf


def loss(told, wanted):
    """The mean squared error of standardised embeddings: (n, width), (n, width) float32 -> ()."""
    return tf.reduce_mean((told - wanted) ** 2)
