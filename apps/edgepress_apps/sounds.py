"""Where recorded sound comes from: files and pipes. Each source is a context manager that yields chunks of samples."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Callable

import numpy as np

from edgepress_runtime import audio
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.files import find

CHUNK_S = 0.04

Told = Callable[[str, str], None]  # what was lost (a file, a microphone), and why


def ignore(what: str, reason: str) -> None:
    """Takes no note of what was lost."""


@dataclass(frozen=True)
class AudioChunk:
    """Consecutive samples of one channel, (n,) int16 at `rate_hz`.

    `t` is `time.monotonic()` in seconds when the last of them was there; `lost` samples are missing just before the
    first. `stream` counts from 0: with each new number another recording begins. `origin` is its file, empty for a
    live one.
    """

    samples: np.ndarray
    rate_hz: int
    t: float
    lost: int = 0
    stream: int = 0
    origin: str = ""


class Recordings:
    """Sound files, each a stream of its own at `rate_hz`; folders are searched in the order of their names.

    A file that cannot be read is told to `told`. Raises EdgepressError on entering when there is nothing to read.
    """

    def __init__(self, paths: Sequence[str], rate_hz: int, *, told: Told = ignore) -> None:
        self._paths = [Path(path) for path in paths]
        self._rate_hz = rate_hz
        self._told = told
        self._open = False

    def __enter__(self) -> Iterator[AudioChunk]:
        for path in self._paths:
            if not path.exists():
                raise EdgepressError(f"{path} does not exist", "give a recording, or a folder of recordings")
        files = find(self._paths, audio.SUFFIXES)
        if not files:
            names = ", ".join(map(str, self._paths))
            raise EdgepressError(f"{names} holds no recordings", f"known endings: {' '.join(audio.SUFFIXES)}")
        self._open = True
        return self._chunks(files)

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the chunks: whoever iterates over them gets no further one."""
        self._open = False

    def _chunks(self, files: list[Path]) -> Iterator[AudioChunk]:
        size = round(CHUNK_S * self._rate_hz)
        for number, file in enumerate(files):
            try:
                samples = audio.load(file, self._rate_hz)
            except audio.AudioError as error:
                self._told(str(file), error.what)
                continue
            for begin in range(0, len(samples), size):
                if not self._open:
                    return
                part = samples[begin : begin + size]
                yield AudioChunk(part, self._rate_hz, time.monotonic(), 0, number, str(file))


class Pipe:
    """Raw samples, int16 of one channel with the low byte first, from a binary stream such as standard input."""

    def __init__(self, stream: IO[bytes], rate_hz: int) -> None:
        self._stream = stream
        self._rate_hz = rate_hz
        self._open = False

    def __enter__(self) -> Iterator[AudioChunk]:
        self._open = True
        return self._chunks()

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the chunks at the next one; a read that waits for its writer goes on waiting."""
        self._open = False

    def _chunks(self) -> Iterator[AudioChunk]:
        read = getattr(self._stream, "read1", self._stream.read)  # what is there, not all that is asked for
        size = 2 * round(CHUNK_S * self._rate_hz)
        rest = b""
        while self._open:
            data = read(size)
            if not data:
                return
            data = rest + data
            whole = len(data) // 2 * 2
            rest = data[whole:]  # half a sample waits for its other half
            if whole:
                samples = np.frombuffer(data[:whole], "<i2").astype(np.int16)
                yield AudioChunk(samples, self._rate_hz, time.monotonic())
