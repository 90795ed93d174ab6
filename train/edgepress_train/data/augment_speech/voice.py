"""Augmentation of the voice itself: faster, longer, of a smaller head. These steps change the length of a sound."""

from __future__ import annotations

import numpy as np

from edgepress_train.data.augment_speech.sound import Sound
from edgepress_train.data.tts.trim import resample

_WINDOW, _HOP = 512, 128
_STRETCH, _STEP, _SEARCH = 480, 240, 160  # samples of WSOLA: 30 ms, 15 ms, 10 ms either way
_LIFTER = 28  # cepstral coefficients of the envelope: it follows formants, not the pitch (up to 400 Hz or so)


def speed(sound: Sound, rng: np.random.Generator, *, fraction: float = 0.1) -> Sound:
    """Play faster or slower by up to `fraction`, pitch and formants with it."""
    factor = float(np.exp(rng.uniform(-1, 1) * np.log1p(fraction)))
    n = max(1, round(len(sound.samples) / factor))
    return Sound(resample(sound.samples, n), _scaled(sound.begin, 1 / factor, n), _scaled(sound.end, 1 / factor, n))


def tempo(sound: Sound, rng: np.random.Generator, *, fraction: float = 0.2) -> Sound:
    """Say some parts faster and others slower, by up to `fraction` each, at the same pitch.

    WSOLA (Verhelst & Roelands 1993): every 15 ms a stretch is taken from where the changed time wants it, moved so that
    it goes on as the one before would have. The rate is linear between knots about 0.3 s apart.
    """
    n = len(sound.samples)
    knots = max(2, 2 + round(n / 4800))
    rates = np.exp(rng.uniform(-1, 1, knots) * np.log1p(fraction))
    grid = np.linspace(0, n, 8 * knots)
    slower = np.interp(np.linspace(0, knots - 1, len(grid) - 1), np.arange(knots), 1 / rates)
    times = np.concatenate([[0.0], np.cumsum(np.diff(grid) * slower)])  # when each point of `grid` is heard now
    length = max(1, round(float(times[-1])))
    padded = np.pad(sound.samples.astype(np.float32), (_SEARCH + _STEP, _SEARCH + 2 * _STRETCH + _STEP))
    wanted = np.interp(np.arange(0, length + _STEP, _STEP), times, grid).astype(np.int64)
    out = np.zeros(len(wanted) * _STEP + _STRETCH, np.float32)
    window = np.float32(0.5) - np.float32(0.5) * np.cos(2 * np.pi * np.arange(_STRETCH, dtype=np.float32) / _STRETCH)
    stay = np.float32(1e-7) * np.abs(np.arange(2 * _SEARCH + 1, dtype=np.float32) - _SEARCH)  # in silence, do not move
    place = _SEARCH
    for k, nominal in enumerate(wanted):
        if k:
            onward = padded[place + _STEP : place + _STEP + _STRETCH]
            region = padded[nominal : nominal + 2 * _SEARCH + _STRETCH]
            place = int(nominal) + int(np.argmax(np.correlate(region, onward, "valid") - stay))
        out[k * _STEP : k * _STEP + _STRETCH] += padded[place : place + _STRETCH] * window
    out = out[_STEP : _STEP + length]
    return Sound(out, *(min(length, round(float(np.interp(mark, grid, times)))) for mark in (sound.begin, sound.end)))


def formant(sound: Sound, rng: np.random.Generator, *, fraction: float = 0.12) -> Sound:
    """Scale the formants by up to `fraction` either way and leave the pitch (the envelope by a liftered cepstrum).

    What differs between heads of different sizes; compare vocal tract length perturbation, Jaitly & Hinton 2013.
    """
    factor = float(np.exp(rng.uniform(-1, 1) * np.log1p(fraction)))
    spectra = _analyse(sound.samples)
    log_size = np.log(np.abs(spectra) + 1e-5)
    cepstrum = np.fft.irfft(log_size, axis=1)
    cepstrum[:, _LIFTER : _WINDOW - _LIFTER + 1] = 0
    envelope = np.fft.rfft(cepstrum, axis=1).real
    bins = np.arange(envelope.shape[1])
    source = np.minimum(bins / factor, bins[-1])
    left = np.minimum(source.astype(np.int64), bins[-1] - 1)
    share = (source - left).astype(np.float32)
    warped = envelope[:, left] * (1 - share) + envelope[:, left + 1] * share
    # never more than 30 dB louder: what was silent stays silent
    out = _synthesise(spectra * np.exp(np.clip(warped - envelope, -4, 3.5)))
    n = len(sound.samples)
    return sound.at(np.pad(out, (0, max(0, n - len(out))))[:n].astype(np.float32))


def _scaled(mark: int, factor: float, n: int) -> int:
    return min(n, round(mark * factor))


def _window() -> np.ndarray:
    return np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)


def _analyse(samples: np.ndarray) -> np.ndarray:
    """(frames, 257) complex: frame i is centred on sample 128 i."""
    padded = np.pad(samples.astype(np.float32), (_WINDOW // 2, _WINDOW // 2 + 2 * _HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP]
    return np.fft.rfft(frames * _window(), axis=1)


def _synthesise(spectra: np.ndarray) -> np.ndarray:
    """(128 * frames,) float32: overlap-add; the four windows over a sample sum up to 2."""
    frames = np.fft.irfft(spectra, _WINDOW, axis=1).astype(np.float32) * _window()
    out = np.zeros((len(frames) + 3) * _HOP, np.float32)
    blocks = out.reshape(-1, _HOP)
    for part in range(4):
        blocks[part : part + len(frames)] += frames[:, part * _HOP : (part + 1) * _HOP]
    return out[_WINDOW // 2 : _WINDOW // 2 + len(frames) * _HOP] / 2
