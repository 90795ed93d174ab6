"""Decoding a whole split before training, so that a broken file is found by name at once and never in the middle.

Pixels are what the board's own preprocessing gives (`edgepress_runtime.image.load_pixels`), kept in a cache keyed by
the files and the preprocessing, and memory-mapped, so that data sets larger than memory can be trained on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edgepress_runtime.image import ImageError, load_pixels
from edgepress_runtime.manifest import ImageSpec
from edgepress_train.data import cache
from edgepress_train.data.dataset import DataError, Skipped, Split
from edgepress_train.progress import Progress, silent

_FORMAT = 1  # raise when load_pixels changes what it returns


def load_split(
    split: Split, spec: ImageSpec, *, progress: Progress = silent
) -> tuple[np.ndarray, Split, tuple[Skipped, ...]]:
    """Pixels of `split` at the model's size: (n, height, width, channels) uint8, read-only.

    Also gives the split without the files that could not be decoded, and those files with the reason.
    Raises DataError when no file can be decoded.
    """
    if not len(split):
        return np.zeros((0, spec.height, spec.width, spec.channels), np.uint8), split, ()
    stored = cache.folder("pixels") / f"{_key(split, spec)}.npy"
    bad = stored.with_suffix(".json")
    if not (stored.is_file() and bad.is_file()):
        _decode(split, spec, stored, bad, progress)
    reasons = {int(index): reason for index, reason in json.loads(bad.read_text(encoding="utf-8")).items()}
    skipped = tuple(Skipped(str(split.paths[index]), reason) for index, reason in reasons.items())
    pixels = np.load(stored, mmap_mode="r")
    if not len(pixels):
        raise DataError(f"none of {len(split)} pictures can be decoded: {skipped[0].reason}")
    return pixels, split.take([i for i in range(len(split)) if i not in reasons]), skipped


def _decode(split: Split, spec: ImageSpec, stored: Path, bad: Path, progress: Progress) -> None:
    def one(path: Path) -> np.ndarray | str:
        try:
            return load_pixels(path, spec)
        except ImageError as error:
            return error.what

    partial = stored.with_name(f"{stored.stem}.{os.getpid()}.partial")
    reasons: dict[int, str] = {}
    try:
        with partial.open("w+b") as file:
            shape = (len(split), spec.height, spec.width, spec.channels)
            pixels = np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
            # Pillow lets go of the interpreter while it decodes, so threads use every core
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                for index, result in enumerate(pool.map(one, split.paths)):
                    if isinstance(result, str):
                        reasons[index] = result
                    else:
                        pixels[index - len(reasons)] = result
                    progress("decode", index + 1, len(split), "")
            partial_npy = partial.with_suffix(".npy.partial")
            with partial_npy.open("wb") as target:
                np.save(target, pixels[: len(split) - len(reasons)], allow_pickle=False)
        bad.write_text(json.dumps(reasons), encoding="utf-8")
        partial_npy.rename(stored)  # last: a cache entry counts only when its pixels are there
    except OSError as error:
        raise DataError(
            f"the pixel cache cannot be written: {error.strerror}", "free space, or set EDGEPRESS_CACHE"
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def _key(split: Split, spec: ImageSpec) -> str:
    # mean and std come after the pixels, so they do not belong to the key
    shape = dataclasses.replace(spec, mean=(0.0,) * spec.channels, std=(1.0,) * spec.channels)
    digest = hashlib.sha256(json.dumps([_FORMAT, dataclasses.asdict(shape)]).encode())
    for path in split.paths:
        status = path.stat()
        digest.update(os.fsencode(f"\0{path}\0{status.st_size}\0{status.st_mtime_ns}"))
    return digest.hexdigest()[:32]
