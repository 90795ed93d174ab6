"""Noise to put behind speech: synthesized (numpy only, seeded), of voices, or from folders of recordings.

Every generator gives (n,) float32 of root mean square 1 at 16 kHz. They draw their own character (which hum, which fan)
from the generator that is passed, so two calls sound like two places.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data import cache
from edgepress_train.progress import Progress, silent

RATE_HZ = 16000
_VERSION = 1
_SCENES, _SCENE_S = 10, 12.0  # how many of each kind a bank has, and how long each is
_STEADY, _STEADY_COUNTS = ("white", "coloured"), 4  # what rooms, fans and poor microphones sound like counts as four
_QUIETEST = 1e-4  # of full scale: recordings are cut where they are silent


def white(n: int, rng: np.random.Generator) -> np.ndarray:
    """Equal power in every hertz."""
    return _unit(rng.standard_normal(n, np.float32))


def coloured(n: int, rng: np.random.Generator) -> np.ndarray:
    """Power falling by 0 to 9 dB an octave (pink is 3, brown 6), with broad bumps: most rooms when nobody speaks."""
    hz = np.fft.rfftfreq(n, 1 / RATE_HZ)
    octaves = np.log2(np.maximum(hz, 40.0) / 1000)
    level_db = -rng.uniform(0.0, 9.0) * octaves
    for _ in range(int(rng.integers(0, 5))):
        level_db += rng.uniform(-12, 12) * np.exp(-0.5 * ((octaves - rng.uniform(-4, 3)) / rng.uniform(0.15, 0.8)) ** 2)
    return _shaped(n, rng, level_db)


def hum(n: int, rng: np.random.Generator) -> np.ndarray:
    """Mains at 50 or 60 Hz with its harmonics, over hiss."""
    base = float(rng.choice([50.0, 60.0])) * rng.uniform(0.998, 1.002)
    return _unit(_harmonics(n, rng, base, 30, rng.uniform(0.3, 1.5)) + rng.uniform(0.02, 0.3) * coloured(n, rng))


def fan(n: int, rng: np.random.Generator) -> np.ndarray:
    """A fan, vacuum cleaner or motor: broad noise beating at the blades' rate, and their tone."""
    turn_hz = rng.uniform(15, 60)
    beat = 1 + rng.uniform(0, 0.5) * np.sin(2 * np.pi * turn_hz * _seconds(n) + rng.uniform(0, 6))
    tone = _harmonics(n, rng, turn_hz * float(rng.integers(3, 9)), 12, rng.uniform(0.5, 2.0))
    return _unit(coloured(n, rng) * beat + rng.uniform(0, 0.8) * tone)


def clicks(n: int, rng: np.random.Generator) -> np.ndarray:
    """Keys, dishes, rain, steps: short bursts that ring, from one a second to hundreds."""
    out = np.zeros(n, np.float32)
    rate = float(np.exp(rng.uniform(np.log(1.0), np.log(200.0))))
    bodies = [_body(rng) for _ in range(8)]
    for start in rng.integers(0, n, max(1, rng.poisson(rate * n / RATE_HZ))):
        body = bodies[int(rng.integers(len(bodies)))]
        room = min(len(body), n - int(start))
        out[start : start + room] += body[:room] * np.float32(rng.lognormal(0.0, 0.8))
    return _unit(out + 0.02 * coloured(n, rng))


def traffic(n: int, rng: np.random.Generator) -> np.ndarray:
    """Low rumble that comes and goes, as of cars, wind or a train."""
    knots = rng.lognormal(0.0, 0.7, max(2, int(n / RATE_HZ * rng.uniform(0.2, 2.0)) + 2))
    swell = np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(n, 1 / RATE_HZ), 30.0) / 200)
    return _unit(_shaped(n, rng, -rng.uniform(4, 10) * np.maximum(octaves, 0)) * swell.astype(np.float32))


def music(n: int, rng: np.random.Generator) -> np.ndarray:
    """Chords, a melody and a beat from a random scale, as unlike from call to call as simple tones can be."""
    out = np.zeros(n, np.float32)
    beat_s = 60 / rng.uniform(70, 160)
    scale = np.array([[0, 2, 4, 5, 7, 9, 11], [0, 2, 3, 5, 7, 8, 10], [0, 2, 4, 7, 9, 12, 14]][int(rng.integers(3))])
    root = rng.uniform(36, 60)
    parts = [(1.0, 4, 3), (0.8, 1, 1), (0.9, 2, 1)][: int(rng.integers(1, 4))]  # loudness, beats a note, notes at once
    for loudness, beats, voices in parts:
        octave, bright, decay = 12 * int(rng.integers(0, 3)), rng.uniform(0.4, 2.0), rng.uniform(0.5, 6.0)
        for start in np.arange(0, n / RATE_HZ, beats * beat_s):
            for _ in range(voices):
                hz = 440 * 2 ** ((root + octave + float(rng.choice(scale)) - 69) / 12)
                _add(out, start, _note(rng, hz, beats * beat_s, bright, decay) * np.float32(loudness))
    if rng.uniform() < 0.6:
        drums = [_body(rng) for _ in range(3)]
        for i, start in enumerate(np.arange(0, n / RATE_HZ, beat_s / 2)):
            if rng.uniform() < (0.9 if i % 2 == 0 else 0.4):
                _add(out, start, drums[i % len(drums)] * np.float32(rng.uniform(0.5, 2.0)))
    return _unit(out + 1e-3 * white(n, rng))


def alarms(n: int, rng: np.random.Generator) -> np.ndarray:
    """Beeps, sirens and chirps over a quiet room."""
    on_s, off_s = rng.uniform(0.05, 0.6), rng.uniform(0.05, 1.0)
    hz = rng.uniform(300, 3500) * (1 + rng.uniform(0, 0.4) * np.sin(2 * np.pi * rng.uniform(0.3, 8) * _seconds(n)))
    wave: np.ndarray = np.sin(2 * np.pi * np.cumsum(hz) / RATE_HZ)
    wave = np.sign(wave) * np.abs(wave) ** rng.uniform(0.2, 1.0)
    gate: np.ndarray = (_seconds(n) % (on_s + off_s) < on_s).astype(np.float32)
    gate = np.convolve(gate, np.ones(80, np.float32) / 80, "same")
    return _unit(wave * gate + rng.uniform(0.02, 0.2) * coloured(n, rng))


NOISES: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "white": white,
    "coloured": coloured,
    "hum": hum,
    "fan": fan,
    "clicks": clicks,
    "traffic": traffic,
    "music": music,
    "alarms": alarms,
}


def babble(n: int, rng: np.random.Generator, clips: Sequence[np.ndarray]) -> np.ndarray:
    """Two to eight voices at once, talking without a pause, out of `clips` (int16 or float32)."""
    out = np.zeros(n, np.float32)
    for _ in range(int(rng.integers(2, 9))):
        position, loudness = -int(rng.integers(0, RATE_HZ)), np.float32(rng.lognormal(0.0, 0.5))
        while position < n:
            voice = clips[int(rng.integers(len(clips)))].astype(np.float32)
            voice = voice[max(0, -position) : n - position]
            first = max(0, position)
            if len(voice):
                out[first : first + len(voice)] += _unit(voice) * loudness
            position = first + max(1, len(voice)) + int(rng.integers(0, RATE_HZ // 4))
    return _unit(out)


@dataclass(frozen=True)
class Backgrounds:
    """Stretches of noise, each (n,) int16, of one or more kinds; every kind is drawn equally often.

    `kinds` are the synthesized ones, the folders' names, and `babble`.
    """

    stretches: dict[str, tuple[np.ndarray, ...]]

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(self.stretches)

    @property
    def seconds(self) -> float:
        return sum(len(stretch) for own in self.stretches.values() for stretch in own) / RATE_HZ

    def draw(self, n: int, rng: np.random.Generator, *, kind: str = "") -> np.ndarray:
        """(n,) float32 of root mean square 1, from a random place; a short stretch is repeated.

        Within a kind, stretches are drawn by their length.
        """
        own = self.stretches[kind or self.kinds[int(rng.integers(len(self.kinds)))]]
        sizes = np.array([len(stretch) for stretch in own], np.float64)
        chosen = own[int(rng.choice(len(own), p=sizes / sizes.sum()))]
        start = int(rng.integers(0, max(1, len(chosen) - n + 1)))
        piece = np.asarray(chosen[start : start + n], np.float32)
        return _unit(np.resize(piece, n))


def backgrounds(
    *,
    folders: Sequence[Path] = (),
    speech: Sequence[np.ndarray] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> Backgrounds:
    """All kinds of synthesized noise (kept in the cache), babble of `speech`, and the recordings in `folders`.

    Steady noise is drawn four times as often as each of the other kinds. A folder of recordings counts as three kinds,
    since real noise teaches most. Raises EdgepressError for a folder without any.
    """
    stretches = {kind: _synthesized(kind, seed, progress) for kind in NOISES}
    for kind in _STEADY:
        stretches |= {f"{kind}#{copy}": stretches[kind] for copy in range(1, _STEADY_COUNTS)}
    if speech:
        rng = np.random.default_rng((seed, 99))
        n = round(_SCENE_S * RATE_HZ)
        stretches["babble"] = tuple(_int16(babble(n, rng, speech)) for _ in range(_SCENES))
    for folder in folders:
        own = read_folder(folder, progress=progress)
        for copy in range(3):
            stretches[f"{folder}#{copy}"] = own
    return Backgrounds(stretches)


def read_folder(folder: Path, *, progress: Progress = silent) -> tuple[np.ndarray, ...]:
    """Every recording below `folder` (or that one file), (n,) int16 at 16 kHz, decoded once and kept in the cache."""
    from edgepress_runtime import audio

    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.suffix.lower() in audio.SUFFIXES)
    found = []
    for done, path in enumerate(files, 1):
        facts = path.stat()
        name = hashlib.sha256(f"{path.resolve()} {facts.st_size} {facts.st_mtime_ns}".encode()).hexdigest()[:32]
        kept = cache.folder("backgrounds") / f"{name}.npy"
        if not kept.is_file():
            _keep(kept, audio.load(path, RATE_HZ))
        stretch = np.load(kept, mmap_mode="r")
        if len(stretch) > RATE_HZ // 10 and np.abs(stretch[:: max(1, len(stretch) // 4096)]).max() > 32768 * _QUIETEST:
            found.append(stretch)
        progress("backgrounds", done, len(files), path.name)
    if not found:
        raise EdgepressError(
            f"{folder} holds no recording with sound in it", f"known endings: {' '.join(audio.SUFFIXES)}"
        )
    return tuple(found)


def _synthesized(kind: str, seed: int, progress: Progress) -> tuple[np.ndarray, ...]:
    kept = cache.folder("noise") / f"{kind}-{seed}-v{_VERSION}.npy"
    if not kept.is_file():
        rng = np.random.default_rng((seed, list(NOISES).index(kind)))
        n = round(_SCENE_S * RATE_HZ)
        _keep(kept, np.stack([_int16(NOISES[kind](n, rng)) for _ in range(_SCENES)]))
        progress("noise", list(NOISES).index(kind) + 1, len(NOISES), kind)
    return tuple(np.load(kept, mmap_mode="r"))


def _keep(path: Path, array: np.ndarray) -> None:
    partial = path.with_name(f"{path.stem}.{hashlib.sha256(array.tobytes()).hexdigest()[:8]}.partial.npy")
    np.save(partial, array)
    partial.replace(path)


def _int16(unit: np.ndarray) -> np.ndarray:
    scale = min(3276.0, 32000 / max(1e-6, float(np.abs(unit).max())))
    return np.round(unit * scale).astype(np.int16)


def _unit(samples: np.ndarray) -> np.ndarray:
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    return (samples / max(level, 1e-9)).astype(np.float32)


def _seconds(n: int) -> np.ndarray:
    return np.arange(n) / RATE_HZ


def _shaped(n: int, rng: np.random.Generator, level_db: np.ndarray) -> np.ndarray:
    """White noise with the given level at each frequency of rfft."""
    spectrum = np.fft.rfft(rng.standard_normal(n, np.float32)) * 10 ** (level_db / 20)
    return _unit(np.fft.irfft(spectrum, n).astype(np.float32))


def _harmonics(n: int, rng: np.random.Generator, base_hz: float, count: int, fall: float) -> np.ndarray:
    """`base_hz` and its multiples below 8 kHz, the k-th weaker by k ** fall."""
    out, seconds = np.zeros(n), _seconds(n)
    for k in range(1, count + 1):
        if k * base_hz < RATE_HZ / 2:
            out += rng.uniform(0.3, 1) / k**fall * np.sin(2 * np.pi * k * base_hz * seconds + rng.uniform(0, 6.28))
    return _unit(out)


def _body(rng: np.random.Generator) -> np.ndarray:
    """Something that is struck: a few decaying resonances and a burst, 0.15 s at most."""
    n = int(RATE_HZ * rng.uniform(0.01, 0.15))
    seconds, out = _seconds(n), np.zeros(n)
    for _ in range(int(rng.integers(1, 5))):
        out += (
            rng.uniform(0.2, 1)
            * np.sin(2 * np.pi * rng.uniform(80, 6000) * seconds)
            * np.exp(-seconds * rng.uniform(20, 400))
        )
    out += rng.uniform(0, 1) * rng.standard_normal(n) * np.exp(-seconds * rng.uniform(50, 800))
    return (out / max(1e-9, float(np.abs(out).max()))).astype(np.float32)


def _note(rng: np.random.Generator, hz: float, length_s: float, bright: float, decay: float) -> np.ndarray:
    n = max(160, int(length_s * RATE_HZ))
    seconds, out = _seconds(n), np.zeros(n)
    for k in range(1, 9):
        if k * hz < RATE_HZ / 2:
            out += np.sin(2 * np.pi * k * hz * seconds + rng.uniform(0, 6.28)) / k**bright
    envelope = np.exp(-decay * seconds) * np.minimum(1, seconds / 0.01) * np.minimum(1, (seconds[-1] - seconds) / 0.02)
    return (out * envelope).astype(np.float32)


def _add(out: np.ndarray, start_s: float, piece: np.ndarray) -> None:
    first = int(start_s * RATE_HZ)
    room = min(len(piece), len(out) - first)
    if room > 0:
        out[first : first + room] += piece[:room]
