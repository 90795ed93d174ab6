"""Augmentation of speech, described by one line: `speed:0.1, formant:0.12, room:0.7, noise:0..30, gain:-20..6`.

    chain = augment_speech.build(augment_speech.DEFAULT)
    bank = augment_speech.load_bank(chain, folders=[Path("music")], speech=[clip.samples() for clip in others])
    samples = chain(samples, rng, bank)                  # int16 in, int16 out; the voice steps change the length
    sound = chain.scene(chain.voice(Sound.of(samples, begin, end), rng), rng, bank)   # marks go along

The voice comes before the scene, and within both the order is that of the line. All randomness is the caller's `rng`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_train import spec
from edgepress_train.data import noise as noises
from edgepress_train.data.augment_speech import rooms, scene, voice
from edgepress_train.data.augment_speech.scene import Bank
from edgepress_train.data.augment_speech.sound import RATE_HZ, Sound
from edgepress_train.progress import Progress, silent

__all__ = ["RATE_HZ", "Bank", "Chain", "Sound", "build", "load_bank"]

DEFAULT = (
    "speed:0.08, tempo:0.15, formant:0.12, equalizer:6, overdrive:3..12:share=0.05, room:0.7, talk:8..25:share=0.1, "
    "noise:0..30, highpass:50..300:share=0.3, lowpass:3..7.5:share=0.3, telephone:0.03, codec:0.08, gain:-24..6"
)
VOICE: dict[str, Callable[..., Sound]] = {"speed": voice.speed, "tempo": voice.tempo, "formant": voice.formant}
SCENE: dict[str, Callable[..., Sound]] = {
    "shift": scene.shift,
    "equalizer": scene.equalizer,
    "overdrive": scene.overdrive,
    "room": scene.room,
    "talk": scene.talk,
    "noise": scene.noise,
    "highpass": scene.highpass,
    "lowpass": scene.lowpass,
    "telephone": scene.telephone,
    "codec": scene.codec,
    "dropout": scene.dropout,
    "gain": scene.gain,
}


@dataclass(frozen=True)
class Chain:
    """Steps ready to be taken; `names` are those of the line."""

    voice_steps: tuple[Callable[..., Sound], ...]
    scene_steps: tuple[Callable[..., Sound], ...]
    names: tuple[str, ...]

    def voice(self, sound: Sound, rng: np.random.Generator) -> Sound:
        """The steps that change the voice, and with it the length."""
        for step in self.voice_steps:
            sound = step(sound, rng)
        return sound

    def scene(self, sound: Sound, rng: np.random.Generator, bank: Bank) -> Sound:
        """The steps that keep the length."""
        for step in self.scene_steps:
            sound = step(sound, rng, bank)
        return sound

    def __call__(self, samples: np.ndarray, rng: np.random.Generator, bank: Bank) -> np.ndarray:
        """All steps on (n,) int16 or float32 samples; (m,) of the same dtype."""
        sound = self.scene(self.voice(Sound.of(samples), rng), rng, bank)
        return sound.int16() if samples.dtype == np.int16 else sound.samples


def build(text: str) -> Chain:
    """The chain that `text` describes. Raises EdgepressError for an unknown step, option or range."""
    table = {**VOICE, **SCENE}
    steps: dict[bool, list[Callable[..., Sound]]] = {True: [], False: []}
    names = []
    for step in spec.parse(text):
        function = spec.choose(step, table, kind="augmentation")
        options = spec.bind(step, function, kind="augmentation")
        for name, value in options.items():
            if isinstance(value, float) and not (0 <= value < math.inf and (name != "share" or value <= 1)):
                raise EdgepressError(f"augmentation {step.name!r}: {name} is {value:g}", "give a number from 0 up")
        ready = functools.partial(function, **options)
        _try(ready, step.name)
        steps[step.name in VOICE].append(ready)
        names.append(step.name)
    return Chain(tuple(steps[True]), tuple(steps[False]), tuple(names))


def load_bank(
    chain: Chain,
    *,
    folders: Sequence[Path] = (),
    speech: Sequence[np.ndarray] = (),
    seed: int = 0,
    progress: Progress = silent,
) -> Bank:
    """What the steps of `chain` need: rooms, backgrounds (synthesized, babble of `speech`, `folders`), other talk."""
    empty = Bank()
    return Bank(
        rooms=rooms.bank(seed=seed, progress=progress) if "room" in chain.names else empty.rooms,
        backgrounds=noises.backgrounds(folders=folders, speech=speech, seed=seed, progress=progress)
        if "noise" in chain.names
        else empty.backgrounds,
        talk=tuple(speech),
    )


def _try(step: Callable[..., Sound], name: str) -> None:
    """Take a step once, on silence, so that a wrong range is told at once."""
    quiet = Sound(np.zeros(1600, np.float32), 400, 1200)
    never = np.random.default_rng(0)
    if name in VOICE:
        step(quiet, never)
    else:
        bank = Bank(
            rooms=np.eye(1, 8, dtype=np.float32),
            backgrounds=noises.Backgrounds({"none": (np.ones(1600, np.int16),)}),
            talk=(np.zeros(160, np.int16),),
        )
        step(quiet, never, bank)
