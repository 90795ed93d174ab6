"""Where frames come from. Each source is a context manager that yields frames already prepared for the model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np

from edgepress_runtime import image
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.files import find
from edgepress_runtime.manifest import ImageSpec

Lost = Callable[[str, str], None]  # what was lost (a file's path), and why


@dataclass(frozen=True)
class Frame:
    """One picture at the model's size.

    `pixels` is (height, width, channels) uint8; `t` is `time.monotonic()` in seconds at the moment it was there; `seq`
    counts from 0 and has gaps where frames were lost; `origin` is a file's path, empty for a live camera.
    """

    pixels: np.ndarray
    t: float
    seq: int
    origin: str = ""


def ignore(what: str, reason: str) -> None:
    """Takes no note of a lost frame."""


class Pictures:
    """Picture files as frames: `where` is one file, or a folder that is searched in the order of its names.

    A file that cannot be decoded is told to `lost` and leaves a gap in `seq`. Raises EdgepressError on entering when
    there is nothing to read.
    """

    def __init__(self, where: str, spec: ImageSpec, *, lost: Lost = ignore) -> None:
        self._where = Path(where)
        self._spec = spec
        self._lost = lost
        self._open = False

    def __enter__(self) -> Iterator[Frame]:
        if not self._where.exists():
            raise EdgepressError(f"{self._where} does not exist", "give a picture, or a folder of pictures")
        files = find([self._where], image.SUFFIXES)
        if not files:
            raise EdgepressError(f"{self._where} holds no pictures", f"known endings: {' '.join(image.SUFFIXES)}")
        self._open = True
        return self._frames(files)

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the frames: whoever iterates over them gets no further one."""
        self._open = False

    def _frames(self, files: list[Path]) -> Iterator[Frame]:
        for seq, file in enumerate(files):
            if not self._open:
                return
            try:
                pixels = image.load_pixels(file, self._spec)
            except image.ImageError as error:
                self._lost(str(file), error.what)
                continue
            yield Frame(pixels, time.monotonic(), seq, str(file))


# Each opens with (where, spec, lost=...) and is a context manager over an iterator of frames.
SOURCES = {
    "files": Pictures,
}


def open_source(text: str, spec: ImageSpec, *, lost: Lost = ignore) -> Pictures:
    """The source that `text` means: `KIND:WHERE` with a kind of SOURCES, or just the path of a file or folder."""
    kind, colon, where = text.partition(":")
    if colon and kind in SOURCES:
        return SOURCES[kind](where, spec, lost=lost)
    return SOURCES["files"](text, spec, lost=lost)
