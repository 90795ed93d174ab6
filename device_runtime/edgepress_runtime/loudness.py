"""Where in a recording something was said: its loudest stretch, by level alone."""

from __future__ import annotations

import numpy as np

from edgepress_runtime.audio import AudioError

FRAME_S = 0.01
SILENT = 33.0  # root mean square of a frame of 16-bit samples, -60 dB of full scale: the noise of a cheap microphone
_BELOW_PEAK = 0.05  # -26 dB: what is quieter than the loudest frame by more is no part of the word
_ABOVE_FLOOR = 2.0  # 6 dB above the quiet frames
_GAP_S = 0.2  # a pause that may lie within a word, before a plosive for instance
_STANDS_OUT = 1.5  # of the loudest frame over the quiet ones; steady noise stays below


def loudest(samples: np.ndarray, rate_hz: int, longest: int, name: str) -> tuple[int, int]:
    """(begin, end) of the loudest stretch of (n,) int16 samples, at most `longest` of them, about its centre of energy.

    Raises AudioError where there is nothing but silence or steady noise; `name` is what it calls the recording.
    """
    size = max(1, round(FRAME_S * rate_hz))
    count = max(1, len(samples) // size)
    frames = np.resize(samples, (count, size)) if len(samples) < size else samples[: count * size].reshape(count, size)
    level = np.sqrt((frames.astype(np.float64) ** 2).mean(axis=1))
    peak, floor = float(level.max()), float(np.percentile(level, 10))
    if peak < SILENT:
        raise AudioError(f"{name} holds nothing but silence", "record it again, closer to the microphone")
    if count * FRAME_S > 1.0 and peak < _STANDS_OUT * floor:
        raise AudioError(f"nothing stands out of the noise in {name}", "record it again, closer to the microphone")
    loud = np.flatnonzero(level >= max(_BELOW_PEAK * peak, min(_ABOVE_FLOOR * floor, 0.5 * peak)))
    at = int(level.argmax())
    breaks = np.flatnonzero(np.diff(loud) > _GAP_S / FRAME_S)
    parts = np.split(loud, breaks + 1)
    part = next(p for p in parts if p[0] <= at <= p[-1])
    begin, end = int(part[0]) * size, (int(part[-1]) + 1) * size
    if end - begin > longest:
        energy = level[part[0] : part[-1] + 1] ** 2
        centre = begin + int((energy @ np.arange(len(energy))) / energy.sum() * size)
        begin = int(np.clip(centre - longest // 2, begin, end - longest))
        end = begin + longest
    return begin, end
