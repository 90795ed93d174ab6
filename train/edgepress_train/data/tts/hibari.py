"""hibari (Apache-2.0): a small net that learned Kokoro's `af_heart`; 0.005 CPU seconds for one of speech."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np

from edgepress_train.data.tts import phonemes as sounds_of
from edgepress_train.data.tts.voice import NEUTRAL, EngineMissing, Manner, Speech, SpeechError, Voice


class Hibari:
    """The engine; only the voice that its package brings, so nothing is ever fetched."""

    name = "hibari"
    version = "heart-1"
    alphabet = "kokoro"

    def __init__(self) -> None:
        if any(importlib.util.find_spec(name) is None for name in ("hibari", "onnxruntime")):
            raise EngineMissing("hibari is not installed", "pip install hibari-tts")

    def voices(self) -> tuple[Voice, ...]:
        return (Voice(self.name, "heart", "en-us", True, "af_heart"),)

    def say(self, text: str, voice: str, manner: Manner = NEUTRAL, *, phonemes: str = "") -> Speech:
        if voice != "heart":
            raise SpeechError(f"hibari has no voice {voice!r}", "voices: heart")
        synthesizer = self._synthesizer
        sounds = phonemes or sounds_of.kokoro(text)
        samples = synthesizer.from_phonemes(sounds, speed=manner.speed / manner.tone, seed=manner.seed)
        return Speech(np.asarray(samples, np.float32), round(synthesizer.sample_rate * manner.tone))

    @functools.cached_property
    def _synthesizer(self) -> Any:
        from hibari import Hibari as Synthesizer

        return Synthesizer(threads=1)
