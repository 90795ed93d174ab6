"""Reading WAV: integers and floats of any width, in the ways in which programs really write them.

Microsoft's "Multimedia Programming Interface and Data Specifications 1.0" (RIFF, and RIFX for the other byte order) and
EBU Tech 3306 (RF64). Some writers leave their lengths open, some are interrupted, some forget the padding of odd
chunks: all whole samples that are there count.
"""

from __future__ import annotations

import struct
from typing import IO, NamedTuple

import numpy as np

MAGIC = (b"RIFF", b"RIFX", b"RF64", b"BW64")
_KNOWN = (b"data", b"fmt ", b"LIST", b"fact", b"bext", b"cue ", b"JUNK", b"id3 ", b"ID3 ", b"PEAK", b"smpl", b"iXML")
_UNKNOWN = 0xFFFFFFFF
_MAX_CHUNKS = 1000
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_DTYPES = {
    (_PCM, 1): "u1",  # the only unsigned one
    (_PCM, 2): "i2",
    (_PCM, 3): "u1",  # as octets
    (_PCM, 4): "i4",
    (_FLOAT, 4): "f4",
    (_FLOAT, 8): "f8",
}
_FOREIGN = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "ADPCM", 0x31: "GSM", 0x50: "MPEG", 0x55: "MP3"}
_BLOCK = 1 << 20  # samples converted at once, so that 8 bytes for each of them are never there together


class Broken(Exception):
    """What is wrong with a file, as the end of a sentence that begins with its name."""


class Foreign(Exception):
    """A coding inside WAV that is not read here, by its name."""


class Layout(NamedTuple):
    """Where the samples lie in the file: `frames` of `channels` x `width` bytes from `start` on."""

    coding: int
    channels: int
    rate_hz: int
    width: int
    start: int
    frames: int
    order: str  # < or >


def find(file: IO[bytes]) -> Layout:
    """Where the samples are in a WAV `file` that can seek. Raises Broken, and Foreign for a coding that is not ours."""
    length = file.seek(0, 2)
    head = _at(file, 0, 12)
    if head[:4] not in MAGIC or head[8:] != b"WAVE":
        raise Broken("is no WAV file, though it begins like one")
    order = ">" if head[:4] == b"RIFX" else "<"
    whole = struct.unpack(f"{order}I", head[4:8])[0]
    form: tuple[int, int, int, int] | None = None
    long_size = 0  # of RF64
    place = 12
    for _ in range(_MAX_CHUNKS):
        if place + 8 > length:
            break
        name, size = struct.unpack(f"{order}4sI", _at(file, place, 8))
        place += 8
        if name == b"ds64" and size >= 16:
            long_size = struct.unpack(f"{order}Q", _at(file, place + 8, 8).ljust(8, b"\0"))[0]
        elif name == b"fmt ":
            form = _format(_at(file, place, min(size, 64)), order)
        elif name == b"data":
            if form is None:
                raise Broken("has its sound before its format")
            size = long_size or size if size == _UNKNOWN else size
            # 0 stands for an unknown length too, unless the length of the file is right: then there is no sound.
            if size == _UNKNOWN or (size == 0 and whole + 8 not in (length, length + 1)):
                size = length - place
            coding, channels, rate_hz, width = form
            frames = min(size, length - place) // (channels * width)
            return Layout(coding, channels, rate_hz, width, place, frames, order)
        place += size
        if size % 2 and not _unpadded(_at(file, place, 5)):
            place += 1
    raise Broken("is a WAV file without sound: it was cut off, or never finished")


def samples(file: IO[bytes], layout: Layout) -> np.ndarray:
    """What `find` found, rounded to 16 bits: (frames, channels) int16. Raises Broken for floats that are no numbers."""
    dtype = np.dtype(layout.order + _DTYPES[layout.coding, layout.width])
    step = max(1, _BLOCK // layout.channels)
    found = np.empty((layout.frames, layout.channels), np.int16)
    file.seek(layout.start)
    for begin in range(0, layout.frames, step):
        part = found[begin : begin + step]
        data = file.read(part.size * layout.width)
        if len(data) < part.size * layout.width:
            raise Broken("became shorter while it was read")
        part[...] = _short(np.frombuffer(data, dtype), layout).reshape(part.shape)
    return found


def from_float(real: np.ndarray) -> np.ndarray:
    """Samples in -1..1 as int16, rounded and saturating. Raises Broken for NaN and infinity."""
    if not np.isfinite(real).all():
        raise Broken("holds samples that are no numbers (NaN or infinite)")
    with np.errstate(over="ignore"):
        return np.clip(np.rint(real * 32768.0), -32768, 32767).astype(np.int16)


def _at(file: IO[bytes], place: int, size: int) -> bytes:
    file.seek(place)
    return file.read(size)


def _unpadded(following: bytes) -> bool:
    """Whether a chunk begins right after an odd one: five bytes from there. By rule a zero lies between the two."""
    named = len(following) >= 4 and all(32 <= letter < 127 for letter in following[:4])
    return following[1:5] not in _KNOWN and named


def _format(body: bytes, order: str) -> tuple[int, int, int, int]:
    """(coding, channels, samples a second, bytes a sample)."""
    if len(body) < 16:
        raise Broken("has a damaged format")
    coding, channels, rate_hz, _, frame, bits = struct.unpack_from(f"{order}HHIIHH", body)
    if coding == _EXTENSIBLE and len(body) >= 26:
        coding = struct.unpack_from(f"{order}H", body, 24)[0]
    if coding not in (_PCM, _FLOAT):
        raise Foreign(_FOREIGN.get(coding, f"number {coding}"))
    if not 1 <= channels <= 64:
        raise Broken(f"claims {channels} channels")
    width = frame // channels if frame and frame % channels == 0 else (bits + 7) // 8
    if (coding, width) not in _DTYPES or not 0 < bits <= 8 * width:
        raise Broken(f"claims {'floats' if coding == _FLOAT else 'samples'} of {bits} bits in {width} bytes")
    return coding, channels, rate_hz, width


def _short(raw: np.ndarray, layout: Layout) -> np.ndarray:
    if layout.coding == _FLOAT:
        return from_float(raw)
    if layout.width == 1:
        return (raw.astype(np.int16) - 128) << 8
    if layout.width == 2:
        return raw
    if layout.width == 3:
        octets = raw.reshape(-1, 3)[:, :: 1 if layout.order == "<" else -1].astype(np.int32)
        raw = octets[:, 0] << 8 | octets[:, 1] << 16 | octets[:, 2] << 24
    return from_float(raw / 2147483648.0)
