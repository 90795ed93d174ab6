"""From what an engine gave to a clip: 16 kHz, silence cut off, one loudness; or the reason why it is no good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RATE_HZ = 16000
_FRAME = 160  # 10 ms
_FLOOR_DB = -38.0  # below the loudest frame: silence
_MARGIN_S = 0.06  # kept on both sides of the speech, so that soft beginnings survive
_LEVEL = 0.08  # root mean square of the speech, as a share of full scale: -22 dBFS
_PEAK = 0.98
# Seconds of speech a sound takes at speed 1; what is shorter or longer by these factors is broken
_SOUND_S, _SHORTEST, _LONGEST = 0.085, 0.35, 3.0


@dataclass(frozen=True)
class Trimmed:
    """`samples` (n,) int16 at 16 kHz; the speech, or the word that the clip is about, lies in [begin, end)."""

    samples: np.ndarray
    begin: int
    end: int


def resample(samples: np.ndarray, length: int) -> np.ndarray:
    """(n,) -> (length,) float32: the same band-limited signal on another grid, by its spectrum.

    For any ratio; lengths are whole, so over all of the signal time is off by up to half a sample. The ends should be
    silent.
    """
    n = len(samples)
    if length == n or n == 0:
        return samples.astype(np.float32)
    pad = 64 + n // 50  # the signal is taken as periodic: keep its ends apart
    whole = np.concatenate([samples, np.zeros(pad, samples.dtype)]).astype(np.float32)
    target = round(len(whole) * length / n)
    spectrum = np.fft.rfft(whole)
    bins = target // 2 + 1
    kept = np.zeros(bins, spectrum.dtype)
    common = min(bins, len(spectrum))
    kept[:common] = spectrum[:common]
    # the highest bins are faded, so that there is no ringing
    fade = min(common, max(2, common // 50))
    kept[common - fade : common] *= np.linspace(1, 0, fade, dtype=np.float32)
    out = np.fft.irfft(kept, target)[:length] * (target / len(whole))
    return np.pad(out, (0, length - len(out))).astype(np.float32)


def frame_levels(samples: np.ndarray) -> np.ndarray:
    """Root mean square of each 10 ms, (n // 160,) float32."""
    count = len(samples) // _FRAME
    frames = samples[: count * _FRAME].reshape(count, _FRAME).astype(np.float32)
    return np.sqrt(np.mean(np.square(frames), axis=1))


def bounds(samples: np.ndarray) -> tuple[int, int]:
    """Where the speech in `samples` begins and ends; (0, 0) where there is none."""
    levels = frame_levels(samples)
    loudest = float(levels.max(initial=0.0))
    if loudest <= 0:
        return 0, 0
    heard = np.flatnonzero(levels > loudest * 10 ** (_FLOOR_DB / 20))
    return int(heard[0]) * _FRAME, (int(heard[-1]) + 1) * _FRAME


def finish(
    samples: np.ndarray, rate_hz: int, *, sounds: int, speed: float, span: tuple[float, float] | None = None
) -> Trimmed | str:
    """The clip of an engine's `samples` (float32), or why it is dropped.

    `sounds` and `speed` tell how long it should be. `span` is where the word lies, in seconds, if the engine knows;
    otherwise all of the speech is the word.
    """
    if len(samples) < rate_hz // 20 or not np.isfinite(samples).all():
        return "no sound"
    if np.mean(np.abs(samples) > 0.999) > 0.002:
        return "clipped"
    whole = resample(samples, round(len(samples) * RATE_HZ / rate_hz))
    begin, end = bounds(whole)
    levels = frame_levels(whole[begin:end])
    if end <= begin or float(levels.max(initial=0.0)) < 1e-3:
        return "silent"
    seconds, expected = (end - begin) / RATE_HZ, _SOUND_S * max(sounds, 1) / speed
    if not _SHORTEST * expected <= seconds <= _LONGEST * expected + 0.5:
        return f"{seconds:.2f} s long where about {expected:.2f} s were expected"
    margin = round(_MARGIN_S * RATE_HZ)
    first, last = max(0, begin - margin), min(len(whole), end + margin)
    active = levels[levels > levels.max() * 10 ** (-20 / 20)]
    clip = whole[first:last] * (_LEVEL / float(np.sqrt(np.mean(np.square(active)))))
    clip *= min(1.0, _PEAK / float(np.abs(clip).max()))
    if span is not None:
        begin = max(begin, round(span[0] * RATE_HZ))
        end = min(end, round(span[1] * RATE_HZ))
        if end - begin < _SHORTEST * 0.5 * _SOUND_S / speed * RATE_HZ:
            return "the word is not where it should be"
    return Trimmed(np.round(clip * 32767).astype(np.int16), begin - first, end - first)
