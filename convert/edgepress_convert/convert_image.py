"""What converting a classifier of pictures needs: pictures to choose ranges by, to verify on, and to be golden."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from edgepress_convert import bundle, flatbuffer, quantize
from edgepress_convert.convert import ConvertConfig, Finished
from edgepress_convert.examples import Examples
from edgepress_convert.importers import Source
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import normalize
from edgepress_runtime.image import quantize as to_stored
from edgepress_runtime.manifest import ImageSpec
from edgepress_train.progress import Progress

MAX_VERIFIED = 5000  # validation pictures that the comparison runs on; its standard error is then below 0.7 points
_CANDIDATES = 8 * bundle.GOLDEN_CASES  # of which those are taken that every kernel answers alike


def check(config: ConvertConfig) -> None:
    for name in ("false_alarms_per_hour", "smoothing_ms", "refractory_ms"):
        if getattr(config, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise EdgepressError(f"{flag} is about keyword spotters, and this model sees pictures", f"leave {flag} out")


def representative(source: Source, config: ConvertConfig, progress: Progress) -> tuple[np.ndarray, Mapping[str, Any]]:
    """Normalised pictures of the training part, and the account of them for the recipe."""
    from edgepress_train.data.pixels import load_split

    if source.dataset is None:
        raise EdgepressError(
            f"{config.source} comes without data, and {config.quantize or 'int8'} needs example pictures",
            "give --data DIR|NAME, or use --quantize dynamic, float16 or float32",
        )
    spec = _spec(source)
    split = source.dataset.splits["train"]
    chosen = split.take(quantize.stratified(split.labels, config.calibration_size, seed=config.seed))
    pixels, kept, _ = load_split(chosen, spec, progress=progress)
    account = {
        "source": source.dataset.name,
        "split": "train",
        "fingerprint": source.dataset.fingerprint,
        "size": len(kept),
        "seed": config.seed,
    }
    return normalize(_full_range(pixels), spec), account


def held(source: Source, config: ConvertConfig, progress: Progress) -> Examples:
    """Validation pictures; without data, noise, which is enough for golden cases and for nothing else."""
    spec = _spec(source)
    real = partial(normalize, spec=spec)
    if source.dataset is None:
        shape = (_CANDIDATES, spec.height, spec.width, spec.channels)
        noise = np.random.default_rng(config.seed).integers(0, 256, shape, dtype=np.uint8)
        return Examples(noise, real, None, "pictures")
    from edgepress_train.data.pixels import load_split

    split = source.dataset.splits["val"]
    if not len(split):
        raise EdgepressError(
            f"{source.dataset.name} has no validation part, so nothing can be verified",
            "train with --val-fraction 0.15",
        )
    split = split.take(quantize.stratified(split.labels, MAX_VERIFIED, seed=config.seed))
    pixels, kept, _ = load_split(split, spec, progress=progress)
    return Examples(pixels, real, kept.labels, "pictures")


def finish(model: bytes, held: Examples, source: Source, config: ConvertConfig, progress: Progress) -> Finished:
    """The model as it is, with pictures of every class as golden cases."""
    labels = held.labels if held.labels is not None else np.zeros(len(held), np.int64)
    graph = flatbuffer.graphs(model)[0]
    index = quantize.interleaved(labels, _CANDIDATES, seed=config.seed)
    stored = to_stored(held.take(index), flatbuffer.specs(graph, graph.inputs)[0])
    return Finished(model, bundle.golden_cases(model, stored))


def _spec(source: Source) -> ImageSpec:
    assert isinstance(source.preprocessing, ImageSpec)
    return source.preprocessing


def _full_range(pixels: np.ndarray) -> np.ndarray:
    """`pixels` (n, height, width, channels) uint8 with a black and a white corner pixel in the first picture.

    The calibrator sees only the pictures it is given, and a darker or brighter one on the board would be clipped. Two
    pixels stretch the input's range to all 256 values and leave every other range alone; an int8 input then stores
    `pixel - 128`, which costs the board nothing.
    """
    stretched = np.array(pixels)
    stretched[0, 0, 0], stretched[0, -1, -1] = 0, 255
    return stretched
