"""What travels between engines and clips: a voice, a manner of speaking, and the speech that came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from edgepress_runtime.errors import EdgepressError


class SpeechError(EdgepressError):
    """Speech that cannot be synthesized: an engine is missing, a voice unknown, a text without sounds."""


class EngineMissing(SpeechError):
    """An engine that is not installed; the remedy says what to install."""


@dataclass(frozen=True)
class Voice:
    """One voice of one engine.

    `language` is as in `en-us`; `natural` tells a recorded or neural voice from a robotic one; `speaker` is the person
    behind it: voices of one speaker (styles derived from him, variants) never lie on both sides of a split.
    """

    engine: str
    name: str
    language: str
    natural: bool
    speaker: str = ""

    def __post_init__(self) -> None:
        if not self.speaker:
            object.__setattr__(self, "speaker", self.name)


@dataclass(frozen=True)
class Manner:
    """How something is said. Every engine does what it can of it, and the rest is left out.

    `speed` above 1 is faster. `pitch` scales the voice's own pitch, `liveliness` how far the pitch moves (1: as the
    voice does by itself, 0: a monotone). `sway` is the deviation of the logarithm of each sound's length. `tone` scales
    the formants, as a smaller head (above 1) or a larger one would, at unchanged speed; the pitch goes along only where
    the engine has no say in it. `seed` is for what is random.
    """

    speed: float = 1.0
    pitch: float = 1.0
    liveliness: float = 1.0
    sway: float = 0.0
    tone: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("speed", 0.3, 3.0), ("pitch", 0.4, 2.5), ("liveliness", 0.0, 3.0), ("sway", 0.0, 1.0)):
            if not low <= getattr(self, name) <= high:
                raise SpeechError(f"a {name} of {getattr(self, name)} is out of reach", f"from {low} to {high}")
        if not 0.6 <= self.tone <= 1.6:
            raise SpeechError(f"a tone of {self.tone} is out of reach", "from 0.6 to 1.6")


@dataclass(frozen=True)
class Speech:
    """`samples` (n,) float32 in -1..1 at `rate_hz`.

    `spans` are the seconds at which each word of the text begins and ends, for engines that know them, else empty.
    """

    samples: np.ndarray
    rate_hz: int
    spans: tuple[tuple[float, float], ...] = ()


NEUTRAL = Manner()


class Engine(Protocol):
    """A speech synthesizer. `version` changes whenever the same request would sound otherwise.

    `alphabet` is "kokoro" for engines that also speak phonemes in Kokoro's alphabet, "espeak" for eSpeak's own
    mnemonics, "" for engines that speak text only.
    """

    name: str
    version: str
    alphabet: str

    def voices(self) -> tuple[Voice, ...]: ...

    def say(self, text: str, voice: str, manner: Manner = NEUTRAL, *, phonemes: str = "") -> Speech:
        """`text`, or exactly the sounds `phonemes` where they are given, in the voice of that name."""
        ...
