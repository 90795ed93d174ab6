"""The one door to Keras 2 and TF-MOT.

TensorFlow picks its Keras at the first touch of `tf.keras`, and TF-MOT only understands Keras 2. So the choice is made
here, before either is imported, and every other module takes `keras` and `tfmot` from this one.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["TF_USE_LEGACY_KERAS"] = "1"

import tf_keras as keras

if not keras.__version__.startswith("2."):
    raise ImportError(f"edgepress needs tf-keras 2.x, found {keras.__version__}: pip install tf-keras==2.21.0")

__all__ = ["keras", "tfmot"]  # noqa: F822  tfmot comes from __getattr__


def __getattr__(name: str):
    # TF-MOT costs a second to import and only compression needs it.
    if name == "tfmot":
        import tensorflow_model_optimization as tfmot

        return tfmot
    raise AttributeError(name)
