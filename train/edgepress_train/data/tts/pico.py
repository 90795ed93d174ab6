"""SVOX Pico, by PyPI's `py-nanotts` (Apache-2.0): six languages, one voice each, 0.01 CPU seconds for one of speech."""

from __future__ import annotations

import importlib.util

import numpy as np

from edgepress_train.data.tts.voice import NEUTRAL, EngineMissing, Manner, Speech, SpeechError, Voice

RATE_HZ = 16000
_VOLUME = 0.4  # at 1 loud vowels are clipped
_LANGUAGES = ("en-US", "en-GB", "de-DE", "es-ES", "fr-FR", "it-IT")


class Pico:
    """The engine."""

    name = "pico"
    version = "1-quiet"
    alphabet = ""

    def __init__(self) -> None:
        if importlib.util.find_spec("py_nanotts") is None:
            raise EngineMissing("SVOX Pico is not installed", "pip install py-nanotts")

    def voices(self) -> tuple[Voice, ...]:
        return tuple(Voice(self.name, name, _language(name), True) for name in _LANGUAGES)

    def say(self, text: str, voice: str, manner: Manner = NEUTRAL, *, phonemes: str = "") -> Speech:
        from py_nanotts import NanoTTS

        if voice not in _LANGUAGES:
            raise SpeechError(f"Pico has no voice {voice!r}", f"voices: {', '.join(_LANGUAGES)}")
        speed, pitch = manner.speed * manner.tone, manner.pitch / manner.tone
        raw = NanoTTS().speak(_plain(text), voice=voice, speed=speed, pitch=min(max(pitch, 0.5), 2.0), volume=_VOLUME)
        samples = np.frombuffer(raw[: len(raw) // 2 * 2], "<i2").astype(np.float32) / 32768
        return Speech(samples, round(RATE_HZ * manner.tone))


def _language(name: str) -> str:
    return name.lower() if name.startswith("en") else name[:2]


def _plain(text: str) -> str:
    """Pico reads tags such as <speed>; there are none in what people say."""
    return text.replace("<", " ").replace(">", " ")
