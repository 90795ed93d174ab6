"""What spectra are made into: window, mel filters, cosine transform.

The mel scale is Slaney's, with triangles of equal area: what librosa makes by default, and what most published speech
features are.
"""

from __future__ import annotations

import math

import numpy as np

# Slaney 1998, Auditory Toolbox: linear below 1 kHz, 200/3 Hz a mel; logarithmic above, 27 mels from 1 to 6.4 kHz
_LINEAR_HZ = 200.0 / 3
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _LINEAR_HZ
_LOG_STEP = math.log(6.4) / 27


def hann(size: int) -> np.ndarray:
    """The periodic Hann window: (size,) float64."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Hertz, of any shape, as mels of Slaney's scale: float64 of that shape."""
    hz = np.asarray(hz, np.float64)
    above = _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.where(hz < _BREAK_HZ, hz / _LINEAR_HZ, above)


def mel_to_hz(mels: np.ndarray) -> np.ndarray:
    """Mels of Slaney's scale, of any shape, as Hertz: float64 of that shape."""
    mels = np.asarray(mels, np.float64)
    above = _BREAK_HZ * np.exp(_LOG_STEP * (np.maximum(mels, _BREAK_MEL) - _BREAK_MEL))
    return np.where(mels < _BREAK_MEL, mels * _LINEAR_HZ, above)


def edges(bands: int, low_hz: float, high_hz: float) -> np.ndarray:
    """The corners of triangles, equidistant in mels: (bands + 2,) float64 in Hz; triangle i has i to i + 2."""
    return mel_to_hz(np.linspace(hz_to_mel(np.array(low_hz)), hz_to_mel(np.array(high_hz)), bands + 2))


def filters(rate_hz: int, size: int, bands: int, low_hz: float, high_hz: float) -> np.ndarray:
    """The weights of the bins of a transform of `size` samples: (bands, size // 2 + 1) float64.

    Each triangle has the area 1 over Hertz. A band narrower than the distance of two bins may have no weight at all.
    """
    corners = edges(bands, low_hz, high_hz)
    places = np.arange(size // 2 + 1) * (rate_hz / size)
    rising = (places - corners[:-2, np.newaxis]) / np.diff(corners)[:-1, np.newaxis]
    falling = (corners[2:, np.newaxis] - places) / np.diff(corners)[1:, np.newaxis]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (corners[2:] - corners[:-2]))[:, np.newaxis]


class Bank:
    """The filters as sums over neighbouring bins.

    Between two corners lie the falling side of one triangle and the rising side of the next: so two products a bin and
    one sum for each side are all there is to do, a twentieth of a matrix product. And each frame is summed by itself:
    the last bits of a matrix product change with the number of its rows.
    """

    def __init__(self, rate_hz: int, size: int, bands: int, low_hz: float, high_hz: float) -> None:
        weights = filters(rate_hz, size, bands, low_hz, high_hz)
        used = np.flatnonzero(weights.any(axis=0))
        first, stop = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        self.bins = slice(first, stop)  # the others weigh nothing
        places = np.arange(first, stop) * (rate_hz / size)
        # Bin k lies between the corners side[k] and side[k] + 1.
        side = np.clip(np.searchsorted(edges(bands, low_hz, high_hz), places, side="right") - 1, 0, bands)
        columns = np.arange(stop - first)
        padded = np.pad(weights[:, first:stop], ((1, 1), (0, 0)))
        # Those of the rising side of band side[k], and of the falling side of the band before.
        self._weights = np.stack((padded[side + 1, columns], padded[side, columns]))
        self._starts = np.minimum(np.searchsorted(side, np.arange(bands + 1)), stop - first - 1)
        self._empty = np.flatnonzero(np.bincount(side, minlength=bands + 1) == 0)

    def energies(self, power: np.ndarray) -> np.ndarray:
        """(frames, bins) float64, `bins` of the power spectrum, -> (frames, bands) float64."""
        sides = np.add.reduceat(power[:, np.newaxis] * self._weights, self._starts, axis=2)
        if len(self._empty):
            sides[:, :, self._empty] = 0
        return sides[:, 0, :-1] + sides[:, 1, 1:]


def dct(size: int) -> np.ndarray:
    """The orthonormal cosine transform of type 2: (size, size) float64, one coefficient a row."""
    places = (np.arange(size) + 0.5) * np.pi / size
    rows = np.cos(np.arange(size)[:, np.newaxis] * places) * math.sqrt(2 / size)
    rows[0] /= math.sqrt(2)
    return rows
