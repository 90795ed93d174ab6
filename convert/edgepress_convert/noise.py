"""Noise over clips at a stated ratio, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from edgepress_convert.spotting import Mix, find_sounds
from edgepress_runtime.audio import load
from edgepress_train.data.windows import spoken

Draw = Callable[[int, np.random.Generator], np.ndarray]  # (samples, rng) -> (samples,) float64
_KEPT = 32  # decoded noises


def mixer(noise: str, snr_db: float, rate_hz: int, *, seed: int) -> Callable[[int], Mix]:
    """For the clip of a number, what lays noise over its stream: `white`, or pieces of the recordings below a folder.

    The ratio is that of mean power, of the clip where it is spoken to the noise over the whole stream. Raises
    EdgepressError for a folder without sound.
    """
    draw = _white if noise == "white" else _recorded(Path(noise), rate_hz)

    def of_clip(number: int) -> Mix:
        def mix(stream: np.ndarray, where: slice) -> np.ndarray:
            drawn = draw(len(stream), np.random.default_rng([seed, number]))
            return at_ratio(stream, where, drawn, snr_db, rate_hz)

        return mix

    return of_clip


def at_ratio(stream: np.ndarray, where: slice, noise: np.ndarray, snr_db: float, rate_hz: int) -> np.ndarray:
    """`stream` (n,) int16 with `noise` (n,) at `snr_db` below the voice in `stream[where]`; softer where it would clip.

    A silent clip stays as it is.
    """
    span = spoken(stream[where], rate_hz)
    voice = float(np.mean(stream[where][span.start : span.stop].astype(np.float64) ** 2))
    power = float(np.mean(noise**2))
    if not voice or not power:
        return stream
    mixed = stream + noise * np.sqrt(voice / power / 10 ** (snr_db / 10))
    peak = float(np.abs(mixed).max())
    return np.rint(mixed * min(1.0, 32767 / peak)).astype(np.int16)


def _white(count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=count)


def _recorded(folder: Path, rate_hz: int) -> Draw:
    paths = find_sounds(folder)

    @lru_cache(_KEPT)
    def decoded(index: int) -> np.ndarray:
        return load(paths[index], rate_hz)

    def draw(count: int, rng: np.random.Generator) -> np.ndarray:
        found = decoded(int(rng.integers(len(paths)))).astype(np.float64)
        if not len(found):
            return np.zeros(count)
        start = int(rng.integers(len(found)))
        return np.resize(np.roll(found, -start), count)

    return draw
