"""The one door to Keras 2 and TF-MOT.

TensorFlow picks its Keras at the first touch of `tf.keras`, and TF-MOT only understands Keras 2. So the choice is made
here, before either is imported, and every other module takes `keras` and `tfmot` from this one. Whoever starts a job
imports this module first: it also keeps TensorFlow's start-up notes off the terminal.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without file descriptor 2: TensorFlow writes start-up notes there, whatever its log level says."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


os.environ["TF_USE_LEGACY_KERAS"] = "1"
if "TF_CPP_MIN_LOG_LEVEL" in os.environ:  # somebody wants to see them
    import tf_keras as keras
else:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"  # 2 still reports a missing GPU as an error
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # else every model of a search is "retracing" something
    with _quiet():
        import tf_keras as keras

if not keras.__version__.startswith("2."):
    raise ImportError(f"edgepress needs tf-keras 2.x, found {keras.__version__}: pip install tf-keras==2.21.0")

__all__ = ["keras", "tfmot"]  # noqa: F822  tfmot comes from __getattr__


def __getattr__(name: str):
    # TF-MOT costs a second to import and only compression needs it.
    if name == "tfmot":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it compares versions with what is left of distutils
            import tensorflow_model_optimization as tfmot

        return tfmot
    raise AttributeError(name)
