"""Sound files to samples: WAV by numpy alone, everything else by the package `soundfile`.

`load` is the one way in which a clip's file becomes samples, for training, evaluation and the board.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Union

import numpy as np

from edgepress_runtime import wav
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.resample import HIGHEST_HZ, LOWEST_HZ, resample

SUFFIXES = (".aif", ".aiff", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".wav")
MAX_BYTES = 1 << 31  # of a file, and of its samples as int16: three hours of stereo at 48 kHz
MAX_SECONDS = 4 * 3600
_BLOCK = 1 << 16  # frames decoded at once

Source = Union[str, "os.PathLike[str]", IO[bytes]]


class AudioError(EdgepressError):
    """A sound that cannot be read; `what` names its file."""


@dataclass(frozen=True)
class Audio:
    """Sound: `samples` (n, channels) int16, n at least 1, at `rate_hz`."""

    samples: np.ndarray
    rate_hz: int


def load(source: Source, rate_hz: int) -> np.ndarray:
    """A file's sound in one channel at `rate_hz`: (n,) int16, n = round(its frames * rate_hz / its rate).

    Raises AudioError, as `read` does, and EdgepressError for a rate outside 4,000 to 192,000 Hz.
    """
    found = read(source)
    return resample(mono(found), found.rate_hz, rate_hz)


def mono(audio: Audio) -> np.ndarray:
    """The mean of the channels, rounded half to even: (n,) int16. It cannot overflow."""
    if audio.samples.shape[1] == 1:
        return audio.samples[:, 0]
    found = np.empty(len(audio.samples), np.int16)
    for begin in range(0, len(found), _BLOCK):
        found[begin : begin + _BLOCK] = np.rint(audio.samples[begin : begin + _BLOCK].mean(axis=1))
    return found


def read(source: Source) -> Audio:
    """The sound in a file, a path or an open binary one from where it stands, known by content and not by name.

    More than 16 bits are rounded to 16. Raises AudioError with the file's name for what is missing, empty, no plain
    file, no sound, damaged, outside 4,000 to 192,000 Hz, longer than four hours or larger than 2 GB, before anything
    of that size is read; a file that was cut off gives the whole samples that are there.
    """
    name = Path(source).name if isinstance(source, (str, os.PathLike)) else "the sound"
    try:
        with _opened(source, name) as file:
            magic = file.read(4)
            if not magic:
                raise AudioError(f"{name} is empty", "record or copy it again")
            if magic not in wav.MAGIC:
                return _by_soundfile(file, name, f"{name} is no WAV file")
            try:
                layout = wav.find(file)
            except wav.Foreign as coding:
                return _by_soundfile(file, name, f"{name} is a WAV file coded as {coding}")
            _check(name, layout.frames, layout.channels, layout.rate_hz)
            return Audio(wav.samples(file, layout), layout.rate_hz)
    except wav.Broken as error:
        raise AudioError(f"{name} {error}", "record or convert it again") from None
    except FileNotFoundError:
        raise AudioError(f"{name} does not exist") from None
    except PermissionError:
        raise AudioError(f"{name} may not be read by this user") from None
    except MemoryError:
        raise AudioError(f"{name} does not fit into memory", "cut it into parts") from None
    except OSError as error:
        raise AudioError(f"{name} cannot be read: {error.strerror or error}") from None


@contextmanager
def _opened(source: Source, name: str) -> Iterator[IO[bytes]]:
    """`source` as a file that can seek and begins at 0."""
    if not isinstance(source, (str, os.PathLike)):
        data = source.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise AudioError(f"{name} is larger than 2 GB", "cut it into parts")
        yield io.BytesIO(data)
        return
    path = Path(source)
    if "\0" in str(path):
        raise FileNotFoundError
    facts = path.stat()
    if path.is_dir():
        raise AudioError(f"{name} is a folder, not a sound")
    if not path.is_file():
        raise AudioError(f"{name} is not a plain file")  # opening a named pipe would wait for its writer
    if facts.st_size > MAX_BYTES:
        raise AudioError(f"{name} is larger than 2 GB", "cut it into parts")
    with path.open("rb") as file:
        yield file


def _check(name: str, frames: int, channels: int, rate_hz: int) -> None:
    """Refuse what no one could use, from what a header says."""
    if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise AudioError(f"{name} has {rate_hz} samples a second, outside {LOWEST_HZ} to {HIGHEST_HZ}")
    if frames < 1:
        raise AudioError(f"{name} holds no sound", "record or copy it again")
    if frames > MAX_SECONDS * rate_hz:
        raise AudioError(f"{name} lasts longer than four hours", "cut it into parts")
    if 2 * frames * channels > MAX_BYTES:
        raise AudioError(f"{name} has more than 2 GB of samples", "cut it into parts")


def _by_soundfile(file: IO[bytes], name: str, otherwise: str) -> Audio:
    """What libsndfile can read; `otherwise` begins the sentence where its package is missing."""
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is there, but not its library
        raise AudioError(
            f"{otherwise}, and other formats need the package soundfile", "pip install 'edgepress-runtime[audio]'"
        ) from None
    parts: list[np.ndarray] = []
    frames = 0
    try:
        # By a stream without a name: soundfile goes by some endings.
        with soundfile.SoundFile(_Nameless(file)) as sound:
            rate_hz, channels = int(sound.samplerate), int(sound.channels)
            if 0 < sound.frames < 1 << 62:  # otherwise unknown
                _check(name, int(sound.frames), channels, rate_hz)
            while True:
                part: Any = sound.read(_BLOCK, dtype="float64", always_2d=True)
                if not len(part):
                    break
                parts.append(wav.from_float(part))
                frames += len(part)
                _check(name, frames, channels, rate_hz)
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rpartition(": ")[2]
        raise AudioError(f"{name} is no sound that can be read: {reason}", "remove or convert it") from None
    _check(name, frames, channels, rate_hz)
    return Audio(np.concatenate(parts), rate_hz)


class _Nameless:
    """The four methods of `file` that soundfile needs."""

    def __init__(self, file: IO[bytes]) -> None:
        file.seek(0)
        self.read, self.readinto, self.tell = file.read, file.readinto, file.tell  # type: ignore[attr-defined]
        self._seek = file.seek

    def seek(self, offset: int, whence: int = 0) -> None:
        """Stays in place when sent before the beginning, as by damaged files; soundfile asks for the place itself."""
        try:
            self._seek(offset, whence)
        except (OSError, ValueError):  # inside soundfile's callback: Python would print its traceback
            pass
