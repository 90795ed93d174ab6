"""Augmentation of where a voice is heard and by what: room, noise, microphone, codec. The length stays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data.augment_speech.sound import RATE_HZ, Sound, span
from edgepress_train.data.noise import Backgrounds

_PEAK = 0.99


@dataclass(frozen=True)
class Bank:
    """What scenes are made of: impulse responses of rooms (count, n), backgrounds, and other people's speech."""

    rooms: np.ndarray = field(default_factory=lambda: np.zeros((0, 1), np.float32))
    backgrounds: Backgrounds = field(default_factory=lambda: Backgrounds({}))
    talk: tuple[np.ndarray, ...] = ()


def room(sound: Sound, rng: np.random.Generator, bank: Bank, *, share: float = 0.7) -> Sound:
    """Hear it in a room of the bank; the loudness stays, the direct sound stays where it was."""
    if rng.uniform() >= share:
        return sound
    if not len(bank.rooms):
        raise EdgepressError("augmentation 'room' needs a bank of rooms", "leave room: out, or make one")
    response = bank.rooms[int(rng.integers(len(bank.rooms)))]
    direct = int(np.argmax(np.abs(response)))
    n = len(sound.samples)
    size = _fast(n + len(response))
    heard = np.fft.irfft(np.fft.rfft(sound.samples, size) * np.fft.rfft(response, size), size)[direct : direct + n]
    return _leveled(sound.at(heard.astype(np.float32)), sound.level)


def noise(sound: Sound, rng: np.random.Generator, bank: Bank, *, snr_db: str = "0..30", share: float = 0.85) -> Sound:
    """Put a background behind it, quieter than the marked part by a random number of decibels."""
    low, high = span(snr_db, "noise", low=-20, high=80)
    if rng.uniform() >= share:
        return sound
    if not bank.backgrounds.stretches:
        raise EdgepressError("augmentation 'noise' needs backgrounds", "leave noise: out, or name some")
    behind = bank.backgrounds.draw(len(sound.samples), rng)
    return sound.at(sound.samples + behind * np.float32(sound.level * _ratio(-rng.uniform(low, high))))


def talk(sound: Sound, rng: np.random.Generator, bank: Bank, *, snr_db: str = "5..25", share: float = 0.15) -> Sound:
    """Let somebody else talk at the same time, in a room of his own where there are rooms."""
    low, high = span(snr_db, "talk", low=-20, high=80)
    if rng.uniform() >= share:
        return sound
    if not bank.talk:
        raise EdgepressError("augmentation 'talk' needs other speech", "leave talk: out, or give clips")
    other = np.asarray(bank.talk[int(rng.integers(len(bank.talk)))])
    voice = Sound.of(other)
    voice = room(voice, rng, bank, share=0.8) if len(bank.rooms) else voice
    if voice.level <= 0:
        return sound
    scale = np.float32(sound.level / voice.level * _ratio(-rng.uniform(low, high)))
    first = int(rng.integers(-len(voice.samples) // 2, max(1, len(sound.samples) - len(voice.samples) // 2)))
    part = voice.samples[max(0, -first) : len(sound.samples) - first]
    mixed = sound.samples.copy()
    mixed[max(0, first) : max(0, first) + len(part)] += part * scale
    return sound.at(mixed)


def gain(sound: Sound, rng: np.random.Generator, bank: Bank, *, db: str = "-20..6") -> Sound:
    """Louder or quieter by a random number of decibels; what does not fit is clipped."""
    low, high = span(db, "gain", low=-60, high=40)
    return sound.at(np.clip(sound.samples * np.float32(_ratio(rng.uniform(low, high))), -1, 1))


def shift(sound: Sound, rng: np.random.Generator, bank: Bank, *, seconds: float = 0.1) -> Sound:
    """Move by up to `seconds` either way; silence comes in, and the marks move with it."""
    n = len(sound.samples)
    by = int(rng.integers(-round(seconds * RATE_HZ), round(seconds * RATE_HZ) + 1))
    moved = np.zeros_like(sound.samples)
    moved[max(0, by) : n + min(0, by)] = sound.samples[max(0, -by) : n - max(0, by)]
    return Sound(moved, min(max(sound.begin + by, 0), n), min(max(sound.end + by, 0), n))


def lowpass(sound: Sound, rng: np.random.Generator, bank: Bank, *, khz: str = "3..7.5", share: float = 0.3) -> Sound:
    """Cut what is above a random frequency: cheap microphones, old recordings, narrow links."""
    low, high = span(khz, "lowpass", low=0.5, high=8)
    return _cut(sound, above_hz=1000 * rng.uniform(low, high)) if rng.uniform() < share else sound


def highpass(sound: Sound, rng: np.random.Generator, bank: Bank, *, hz: str = "50..400", share: float = 0.3) -> Sound:
    """Cut what is below a random frequency: small microphones and speakers have no bass."""
    low, high = span(hz, "highpass", low=10, high=2000)
    return _cut(sound, below_hz=rng.uniform(low, high)) if rng.uniform() < share else sound


def equalizer(sound: Sound, rng: np.random.Generator, bank: Bank, *, db: float = 6.0, share: float = 0.6) -> Sound:
    """A tilt and bumps of up to about `db`, as microphones and cases have them."""
    if rng.uniform() >= share:
        return sound
    octaves = np.log2(np.maximum(np.fft.rfftfreq(_fast(len(sound.samples)), 1 / RATE_HZ), 60) / 1000)
    level_db = rng.uniform(-0.3, 0.3) * db * octaves
    for _ in range(3):
        width, centre = rng.uniform(0.2, 1.0), rng.uniform(-3, 3)
        level_db += rng.uniform(-db, db) * np.exp(-0.5 * ((octaves - centre) / width) ** 2)
    return _filtered(sound, 10 ** (level_db / 20))


def telephone(sound: Sound, rng: np.random.Generator, bank: Bank, *, share: float = 0.05) -> Sound:
    """300 to 3,400 Hz, sampled at 8 kHz and sent as mu-law (ITU-T G.711)."""
    if rng.uniform() >= share:
        return sound
    narrow = _cut(_cut(sound, below_hz=300), above_hz=3400)
    return narrow.at(_mu_law(narrow.samples, 255))


def codec(sound: Sound, rng: np.random.Generator, bank: Bank, *, share: float = 0.1) -> Sound:
    """Few bits: mu-law, 7 to 10 plain bits, or only the louder part of the spectrum, as MP3 keeps it."""
    if rng.uniform() >= share:
        return sound
    kind = int(rng.integers(3))
    if kind == 0:
        return sound.at(_mu_law(sound.samples, 255))
    if kind == 1:
        steps = 2 ** float(rng.integers(7, 11)) / 2
        peak = max(1e-6, float(np.abs(sound.samples).max()))
        return sound.at(np.round(sound.samples / peak * steps).astype(np.float32) * np.float32(peak / steps))
    return sound.at(_masked(sound.samples, float(rng.uniform(0.06, 0.25))))


def overdrive(sound: Sound, rng: np.random.Generator, bank: Bank, *, db: str = "3..15", share: float = 0.1) -> Sound:
    """Too loud for the microphone: peaks are rounded off, or cut in half of the cases."""
    low, high = span(db, "overdrive", low=0, high=40)
    if rng.uniform() >= share:
        return sound
    peak = max(1e-6, float(np.abs(sound.samples).max()))
    driven = sound.samples * np.float32(_ratio(rng.uniform(low, high)) / peak)
    bent = np.tanh(driven) if rng.uniform() < 0.5 else np.clip(driven, -_PEAK, _PEAK)
    return _leveled(sound.at(bent.astype(np.float32)), sound.level)


def dropout(sound: Sound, rng: np.random.Generator, bank: Bank, *, share: float = 0.03) -> Sound:
    """One to three gaps of 10 to 40 ms, as lost packets leave them."""
    if rng.uniform() >= share:
        return sound
    out = sound.samples.copy()
    for _ in range(int(rng.integers(1, 4))):
        first = int(rng.integers(0, max(1, len(out))))
        out[first : first + int(rng.integers(160, 640))] = 0
    return sound.at(out)


def _leveled(sound: Sound, level: float) -> Sound:
    now = sound.level
    return sound.at(sound.samples * np.float32(level / now)) if now > 0 else sound


def _ratio(db: float) -> float:
    return float(10 ** (db / 20))


def _fast(n: int) -> int:
    """The next size from n up for which the Fourier transform is quick: 2^a times 1, 3 or 5."""
    best = 1 << (n - 1).bit_length()
    for odd in (3, 5):
        power = max(0, (-(-n // odd) - 1).bit_length())
        best = min(best, odd << power)
    return best


def _filtered(sound: Sound, response: np.ndarray) -> Sound:
    """Multiply the spectrum (zero phase), padded to the size that `response` was made for."""
    n = len(sound.samples)
    size = _fast(n)
    spectrum = np.fft.rfft(sound.samples, size) * response.astype(np.float32)
    return sound.at(np.fft.irfft(spectrum, size)[:n].astype(np.float32))


def _cut(sound: Sound, *, below_hz: float = 0.0, above_hz: float = 0.0) -> Sound:
    """Butterworth magnitudes of the sixth order."""
    hz = np.fft.rfftfreq(_fast(len(sound.samples)), 1 / RATE_HZ)
    response = np.ones_like(hz)
    if above_hz:
        response /= np.sqrt(1 + (hz / above_hz) ** 12)
    if below_hz:
        response /= np.sqrt(1 + (below_hz / np.maximum(hz, 1e-3)) ** 6)
    return _filtered(sound, response)


def _mu_law(samples: np.ndarray, mu: int) -> np.ndarray:
    """To 8 bits by mu-law and back."""
    peak = max(1e-6, float(np.abs(samples).max()))
    small = samples / peak
    coded = np.round(np.sign(small) * np.log1p(mu * np.abs(small)) / np.log1p(mu) * 127) / 127
    return (np.sign(coded) * np.expm1(np.abs(coded) * np.log1p(mu)) / mu * peak).astype(np.float32)


def _masked(samples: np.ndarray, kept: float) -> np.ndarray:
    """Only the `kept` loudest share of each 32 ms block's spectrum, blocks overlapping by half."""
    size, hop = 512, 256
    padded = np.pad(samples, (hop, size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop]
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)
    spectra = np.fft.rfft(frames * window, axis=1)
    power = np.abs(spectra)
    floor = np.quantile(power, 1 - kept, axis=1, keepdims=True)
    blocks = np.fft.irfft(np.where(power >= floor, spectra, 0), size, axis=1).astype(np.float32) * window
    out = np.zeros((len(blocks) + 1) * hop, np.float32).reshape(-1, hop)
    out[:-1] += blocks[:, :hop]
    out[1:] += blocks[:, hop:]
    return out.ravel()[hop : hop + len(samples)]
