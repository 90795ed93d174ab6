"""Clustering: values counted in the weights and in the .tflite, centroids against a brute-force optimum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgepress_convert import flatbuffer
from edgepress_convert.compress import cluster as clustering
from edgepress_convert.compress import kept_weights
from edgepress_convert.compress.cluster import centroids, cluster
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras
from tests.convert.taught import converted, job, noted, stripes

layers = keras.layers
DATA = stripes(96, (8, 8, 4), seed=1)
KERNELS = {"first": 0, "separable": 1, "along": 0, "wide": 0}


@pytest.fixture(scope="module")
def net() -> keras.Model:
    keras.utils.set_random_seed(3)
    inputs = keras.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, padding="same", name="first", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.DepthwiseConv2D(3, activation="relu", name="depthwise")(x)
    x = layers.SeparableConv2D(12, 3, activation="relu", name="separable")(x)
    x = layers.Conv1D(10, 3, activation="relu", name="along")(layers.Reshape((16, 12))(x))
    x = layers.Dense(12, activation="relu", name="wide")(layers.Flatten()(x))
    x = layers.Dropout(0.1)(x)
    return keras.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))
