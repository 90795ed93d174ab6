"""The keyword spotter without its wiring: chunks in, detections and warnings out. Opens and prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from edgepress_apps import levels
from edgepress_apps.sounds import AudioChunk
from edgepress_runtime.detect import Detection
from edgepress_runtime.resample import Resampler
from edgepress_runtime.spot import Spotter

METER_S = 5.0  # of live sound that a level is judged by; a recording is judged as a whole
EVENTS = 3  # stretches in which something stood out, after which nothing loud means that the gain is too low
GAP_S = 0.25  # without sound: what comes then is not the rest of the word that was cut


@dataclass(frozen=True)
class Heard:
    """A detection in the recording `origin` (empty for a live one); `t` is that of the chunk that completed it."""

    detection: Detection
    origin: str
    t: float


@dataclass(frozen=True)
class Warned:
    """Something that keeps the spotter from hearing well: `kind` is a fault of `levels`, or `lost`."""

    kind: str
    text: str
    origin: str


def spot(chunks: Iterable[AudioChunk], spotter: Spotter) -> Iterator[Heard | Warned]:
    """Spot keywords in `chunks` as they come, at whatever rate. Every kind of warning comes once a stream."""
    now: _Stream | None = None
    for chunk in chunks:
        if now is None or chunk.stream != now.number:
            if now is not None:
                yield from now.end()
            now = _Stream(spotter, chunk)
        yield from now.take(chunk)
    if now is not None:
        yield from now.end()


class _Stream:
    """One recording: it begins and ends with silence around it."""

    def __init__(self, spotter: Spotter, first: AudioChunk) -> None:
        self.number = first.stream
        self._spotter = spotter
        self._origin = first.origin
        self._warned: set[str] = set()
        self._level = levels.level(np.zeros(0, np.int16))
        self._unmetered: list[np.ndarray] = []
        self._count = 0  # samples in there
        self._events = 0
        self._t = first.t
        self._begin(first.rate_hz, 0.0)

    def _begin(self, rate_hz: int, at_s: float) -> None:
        self._rate_hz = rate_hz
        self._resampler = None if rate_hz == self._spotter.rate_hz else Resampler(rate_hz, self._spotter.rate_hz)
        self._spotter.begin(at_s)

    def take(self, chunk: AudioChunk) -> Iterator[Heard | Warned]:
        self._t = chunk.t
        lost_s = chunk.lost / chunk.rate_hz
        if chunk.lost:
            yield from self._warn({"lost": f"{lost_s:.2f} s of sound were lost"})
        if lost_s > GAP_S or chunk.rate_hz != self._rate_hz:
            self._begin(chunk.rate_hz, self._spotter.seconds + lost_s)
        elif chunk.lost:
            self._spotter.skip(lost_s)  # too short a hole to begin anew for
        samples = chunk.samples if self._resampler is None else self._resampler.push(chunk.samples)
        for detection in self._spotter.push(samples):
            yield Heard(detection, self._origin, chunk.t)
        self._unmetered.append(chunk.samples)
        self._count += len(chunk.samples)
        if self._count >= METER_S * chunk.rate_hz:
            yield from self._meter(last=False)

    def end(self) -> Iterator[Heard | Warned]:
        silence = np.zeros(self._spotter.window_samples, np.int16)
        for samples in (silence,) if self._resampler is None else (self._resampler.flush(), silence):
            for detection in self._spotter.push(samples):
                yield Heard(detection, self._origin, self._t)
        yield from self._meter(last=True)

    def _meter(self, *, last: bool) -> Iterator[Warned]:
        samples = np.concatenate((*self._unmetered, np.zeros(0, np.int16)))
        level = levels.level(samples)
        self._unmetered, self._count = [], 0
        before = self._level.count
        self._level += level
        if self._origin:
            if last:
                yield from self._warn(levels.faults(self._level, quiet_dbfs=levels.FILE_QUIET_DBFS))
        elif not last or not before:  # what is left of a long stream may be only a pause
            self._events += levels.stands_out(samples, self._rate_hz)
            found = levels.faults(level)
            if self._events >= EVENTS:
                found = {**levels.faults(self._level, quiet_dbfs=levels.FILE_QUIET_DBFS), **found}
            yield from self._warn(found)

    def _warn(self, found: dict[str, str]) -> Iterator[Warned]:
        for kind, text in found.items():
            if kind not in self._warned:
                self._warned.add(kind)
                yield Warned(kind, text, self._origin)
