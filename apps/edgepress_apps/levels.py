"""What is wrong with a sound, as far as its level tells: nothing, too little, too much, or off its middle."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FULL_SCALE = 32768
LIVE_QUIET_DBFS = -60.0  # a quiet room is louder than that through a microphone that is set up well
FILE_QUIET_DBFS = -40.0  # nobody keeps a recording of a quiet room: there should be a voice in it
CLIPPED = 0.001  # of the samples at full scale
OFFSET = 0.02  # of full scale
STANDS_OUT_DB = 15.0  # noise alone varies by 1 dB from one part to the next
_PART_S = 0.04


@dataclass(frozen=True)
class Level:
    """Of `count` samples the lowest, the highest, the sum, and how many are `stuck` at full scale. Levels add up."""

    count: int
    low: int
    high: int
    total: int
    stuck: int

    def __add__(self, other: Level) -> Level:
        low, high = min(self.low, other.low), max(self.high, other.high)
        return Level(self.count + other.count, low, high, self.total + other.total, self.stuck + other.stuck)


def level(samples: np.ndarray) -> Level:
    """The level of (n,) int16."""
    if not len(samples):
        return Level(0, FULL_SCALE, -FULL_SCALE, 0, 0)
    stuck = np.count_nonzero((samples == -FULL_SCALE) | (samples == FULL_SCALE - 1))
    return Level(len(samples), int(samples.min()), int(samples.max()), int(samples.sum(dtype=np.int64)), int(stuck))


def stands_out(samples: np.ndarray, rate_hz: int) -> bool:
    """Is something in (n,) int16 that is no background: a part much louder than the median one?"""
    size = round(_PART_S * rate_hz)
    parts = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float32)
    if len(parts) < 3:
        return False
    powers = parts.var(axis=1) + np.float32(1 / 12)  # that of rounding: digital silence is no background
    return bool(powers.max() > np.median(powers) * 10 ** (STANDS_OUT_DB / 10))


def faults(heard: Level, *, quiet_dbfs: float = LIVE_QUIET_DBFS) -> dict[str, str]:
    """What would keep a model from hearing: kind of fault -> one clause that names it; empty if all is well.

    Kinds are `dead`, `quiet`, `clipped` and `offset`. `quiet_dbfs` is the least peak, in dB of full scale, beside the
    offset. Judge seconds at a time: a pause between two words is no fault.
    """
    if not heard.count:
        return {}
    if heard.low == heard.high:
        return {"dead": "nothing but digital silence: is the microphone muted, or not connected?"}
    found = {}
    mean = heard.total / heard.count
    peak = max(heard.high - mean, mean - heard.low) / FULL_SCALE
    if peak < 10 ** (quiet_dbfs / 20):
        found["quiet"] = f"very quiet, no peak above {20 * math.log10(peak):.0f} dB of full scale: turn the gain up"
    if heard.stuck > CLIPPED * heard.count:
        share = heard.stuck / heard.count
        found["clipped"] = f"clipped, {share:.1%} of the samples are at full scale: turn the gain down"
    if abs(mean) > OFFSET * FULL_SCALE:
        found["offset"] = f"a DC offset of {mean / FULL_SCALE:+.0%} of full scale: the microphone needs a high-pass"
    return found
