"""The front end of speech: sound to features, frame by frame, the same in training, on the board and in a stream.

Frame k covers the samples from k * hop up to k * hop + window. Every step works on each frame by itself, without matrix
products, whose last bits change with the number of rows; so any chunking of a stream gives the features of the whole
clip bit for bit, and the whole clip is nothing but a stream of one chunk. A frame is given with the sample that
completes it.

A stream may go on for ever: places are whole numbers relative to what is still waiting, and what PCEN and `micro`
remember is bounded.
"""

from __future__ import annotations

import numpy as np

from edgepress_runtime import mel
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import SpeechSpec

# Energies are in squared units of int16. Below 1 there is nothing but the rounding of the samples.
FLOOR = 1.0
_BLOCK = 32  # frames at once, which fit into a cache
_MICRO_CHUNK = 320  # bytes: 160 samples, what its package takes at a time


def frame_count(samples: int, spec: SpeechSpec) -> int:
    """How many frames so many samples give."""
    return 0 if samples < spec.window else 1 + (samples - spec.window) // spec.hop


def features(samples: np.ndarray, spec: SpeechSpec) -> np.ndarray:
    """Features of one clip, (n,) int16 at the spec's rate: (frame_count(n, spec), spec.features) float32, normalised.

    Raises EdgepressError as FrontEnd does.
    """
    return FrontEnd(spec).push(samples)


class FrontEnd:
    """A stream's front end. `push` takes samples as they come and gives the frames that they complete.

    The values are finite whatever the samples are. Raises EdgepressError for `micro` when its package is missing.
    """

    def __init__(self, spec: SpeechSpec) -> None:
        self.spec = spec
        self._frames: _Spectral | _Micro = _Micro(spec) if spec.front_end == "micro" else _Spectral(spec)

    def push(self, samples: np.ndarray) -> np.ndarray:
        """(n,) int16, any n -> (frames, features) float32, normalised: no rows while a frame is incomplete.

        Raises EdgepressError for another dtype or shape.
        """
        if samples.ndim != 1 or samples.dtype != np.int16:
            raise EdgepressError(f"sound should be int16 in one dimension, not {samples.dtype} {list(samples.shape)}")
        return self._frames.push(samples)

    def reset(self) -> None:
        """Forget everything: the next sample begins a new stream."""
        self._frames.reset()


class _Spectral:
    """Mel energies, and their logarithm, PCEN or cepstrum."""

    def __init__(self, spec: SpeechSpec) -> None:
        self._spec = spec
        self._size = 1 << (spec.window - 1).bit_length()
        self._hann = mel.hann(spec.window)
        self._bank = mel.Bank(spec.rate_hz, self._size, spec.bands, spec.low_hz, spec.high_hz)
        self._cosines = mel.dct(spec.bands)[: spec.coefficients] if spec.coefficients else None
        self._padded = np.zeros((_BLOCK, self._size))  # zeros stay behind each frame
        self._windowed = self._padded[:, : spec.window]
        self.reset()

    def reset(self) -> None:
        self._waiting = np.zeros(0, np.int16)  # begins where the next frame does
        self._skip = 0  # samples to pass over before it, when frames lie apart
        self._smooth: np.ndarray | None = None

    def push(self, samples: np.ndarray) -> np.ndarray:
        if self._skip:
            passed = min(self._skip, len(samples))
            self._skip -= passed
            samples = samples[passed:]
        waiting = np.concatenate((self._waiting, samples))
        spec = self._spec
        count = frame_count(len(waiting), spec)
        found = []
        for start in range(0, count, _BLOCK):
            # Made by hand, since as_strided takes as long as half a transform.
            shape = min(_BLOCK, count - start), spec.window
            frames = np.ndarray(shape, np.int16, waiting, 2 * start * spec.hop, (2 * spec.hop, 2))
            found.append(self._block(frames))
        consumed = count * spec.hop
        if consumed > len(waiting):
            self._skip = consumed - len(waiting)
        self._waiting = waiting[consumed:].copy()
        if len(found) == 1:
            return found[0]
        return np.concatenate(found) if found else np.empty((0, spec.features), np.float32)

    def _block(self, frames: np.ndarray) -> np.ndarray:
        """(n, window) int16, n up to _BLOCK -> (n, features) float32."""
        count, bins = len(frames), self._bank.bins
        np.multiply(frames, self._hann, out=self._windowed[:count])
        # In float64: NumPy 1 has no other transform, and a board with it must find the same numbers.
        spectrum = np.fft.rfft(self._padded[:count])
        power = np.square(spectrum.real[:, bins])
        power += np.square(spectrum.imag[:, bins])
        values = self._bank.energies(power)
        if self._spec.pcen is not None:
            values = self._pcen(values)
        else:
            np.maximum(values, FLOOR, out=values)
            np.log(values, out=values)
            if self._cosines is not None:
                values = (values[:, np.newaxis] * self._cosines).sum(axis=2)
        values -= self._spec.mean
        values /= self._spec.std
        return values.astype(np.float32)

    def _pcen(self, energies: np.ndarray) -> np.ndarray:
        """Wang et al. 2017, arXiv:1607.05666, equations 1 and 2; the smoother starts with the first frame."""
        pcen = self._spec.pcen
        assert pcen is not None
        new, smoothed = energies * pcen.smoothing, np.empty_like(energies)
        last = energies[0] if self._smooth is None else self._smooth
        for fresh, row in zip(new, smoothed):
            last = np.add(last * (1 - pcen.smoothing), fresh, out=row)
        self._smooth = last.copy()
        smoothed += FLOOR
        np.log(smoothed, out=smoothed)
        smoothed *= -pcen.gain
        np.exp(smoothed, out=smoothed)
        smoothed *= energies
        smoothed += pcen.bias
        np.log(smoothed, out=smoothed)
        smoothed *= pcen.power
        np.exp(smoothed, out=smoothed)
        smoothed -= pcen.bias**pcen.power
        return smoothed


class _Micro:
    """The fixed-point front end of TensorFlow Lite Micro, by the package `pymicro-features`.

    Its values are whole numbers of 0 to about 670, divided by 25.6, as microWakeWord feeds its nets.
    """

    def __init__(self, spec: SpeechSpec) -> None:
        try:
            from pymicro_features import MicroFrontend
        except ImportError:
            raise EdgepressError(
                "the micro front end is not installed", "pip install 'edgepress-runtime[micro]'"
            ) from None
        self._spec = spec
        self._front_end = MicroFrontend()
        self._waiting = b""

    def reset(self) -> None:
        self._front_end.reset()
        self._waiting = b""

    def push(self, samples: np.ndarray) -> np.ndarray:
        waiting = self._waiting + samples.tobytes()
        process = self._front_end.process_samples
        rows = []
        whole = len(waiting) - len(waiting) % _MICRO_CHUNK
        for at in range(0, whole, _MICRO_CHUNK):
            values = process(waiting[at : at + _MICRO_CHUNK]).features
            if values:
                rows.append(values)
        self._waiting = waiting[whole:]
        found = np.array(rows).reshape(len(rows), self._spec.bands)
        found -= self._spec.mean
        found /= self._spec.std
        return found.astype(np.float32)
