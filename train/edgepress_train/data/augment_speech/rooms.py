"""Rooms: impulse responses of random shoeboxes by the image-source method (Allen & Berkley 1979), from pyroomacoustics.

A bank is made once (about 5 ms a room) and kept in the cache.
"""

from __future__ import annotations

import importlib.util
import os

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data import cache
from edgepress_train.data.augment_speech.sound import RATE_HZ
from edgepress_train.progress import Progress, silent

_VERSION = 1
_LONGEST_S = 0.5
_ORDER = 14  # reflections; what comes later is made of noise that decays as the room does
_LEAD = 8  # samples kept before the direct sound


def bank(count: int = 200, *, seed: int = 0, progress: Progress = silent) -> np.ndarray:
    """(count, 8000) float32 impulse responses at 16 kHz of energy 1, the direct sound at sample 8.

    Rooms of 2 to 10 m, reverberation of 0.1 to 0.9 s, talkers 0.3 to 6 m away. Raises EdgepressError where
    pyroomacoustics is missing.
    """
    kept = cache.folder("rooms") / f"{count}-{seed}-v{_VERSION}.npy"
    if kept.is_file():
        return np.load(kept)
    if importlib.util.find_spec("pyroomacoustics") is None:
        raise EdgepressError("rooms need pyroomacoustics", "pip install 'edgepress[speech]', or leave room: out")
    rng = np.random.default_rng((seed, 17))
    responses: list[np.ndarray] = []
    while len(responses) < count:
        responses.append(response(rng))
        progress("rooms", len(responses), count, "")
    partial = kept.with_name(f"{kept.stem}.{os.getpid()}.partial.npy")
    np.save(partial, np.stack(responses))
    partial.replace(kept)
    return np.load(kept)


def response(rng: np.random.Generator) -> np.ndarray:
    """(8000,) float32: one random room, talker and microphone."""
    import pyroomacoustics

    while True:
        size = np.array([rng.uniform(2, 9), rng.uniform(2, 10), rng.uniform(2.2, 3.6)])
        decay_s = float(np.exp(rng.uniform(np.log(0.12), np.log(0.9))))
        try:
            absorption, order = pyroomacoustics.inverse_sabine(decay_s, size)
        except ValueError:  # no wall absorbs that much in a room of this size
            continue
        microphone = size * rng.uniform(0.1, 0.9, 3)
        talker = size * rng.uniform(0.1, 0.9, 3)
        talker[2] = min(talker[2], rng.uniform(0.9, 1.8), size[2] - 0.2)
        if not 0.3 <= float(np.linalg.norm(talker - microphone)) <= 6:
            continue
        room = pyroomacoustics.ShoeBox(
            size, fs=RATE_HZ, materials=pyroomacoustics.Material(absorption), max_order=min(order, _ORDER)
        )
        room.add_source(talker)
        room.add_microphone(microphone)
        room.compute_rir()
        return _finished(np.asarray(room.rir[0][0], np.float64), decay_s, rng)


def _finished(raw: np.ndarray, decay_s: float, rng: np.random.Generator) -> np.ndarray:
    n = round(_LONGEST_S * RATE_HZ)
    direct = int(np.argmax(np.abs(raw)))
    raw = np.pad(raw[max(0, direct - _LEAD) :], (max(0, _LEAD - direct), n))[:n]
    # beyond the last reflections that were computed, a tail of the same decay
    seconds = np.arange(n) / RATE_HZ
    envelope = 10 ** (-3 * seconds / decay_s)  # 60 dB in decay_s
    known = int(n * 0.15)
    level = float(np.sqrt(np.mean(np.square(raw[known // 2 : known]) / np.square(envelope[known // 2 : known]))))
    late = np.maximum(0, (seconds - 0.06) / 0.06).clip(0, 1)
    tail = rng.standard_normal(n) * envelope * level
    mixed = raw + late * np.where(np.abs(raw) < np.abs(tail), tail - raw, 0)
    mixed *= np.minimum(1, np.linspace(1, 0, n) * 8)  # no edge at the end
    return (mixed / np.sqrt(np.sum(np.square(mixed)))).astype(np.float32)
