"""SVOX Pico, by PyPI's `py-nanotts` (Apache-2.0): six languages, one voice each, 0.01 CPU seconds for one of speech.

Its library reads memory that it never wrote: in a long-lived process the ends of words come out otherwise from call to
call, and now and then it takes the process down. So every request gets a process of its own (60 ms), in which it has
always said the same.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path

from edgepress_train.data.tts import programs
from edgepress_train.data.tts.voice import NEUTRAL, EngineMissing, Manner, Speech, SpeechError, Voice

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
        if voice not in _LANGUAGES:
            raise SpeechError(f"Pico has no voice {voice!r}", f"voices: {', '.join(_LANGUAGES)}")
        options = {
            "--voice": voice,
            "--speed": f"{manner.speed / manner.tone:.4f}",
            "--pitch": f"{min(max(manner.pitch / manner.tone, 0.5), 2.0):.4f}",
            "--volume": str(_VOLUME),
        }
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            words = [word for option in options.items() for word in option]
            programs.run([sys.executable, "-m", "py_nanotts", *words, "--output", str(path), "--", _plain(text)], "")
            return programs.read(path, manner)


def _language(name: str) -> str:
    return name.lower() if name.startswith("en") else name[:2]


def _plain(text: str) -> str:
    """Pico reads tags such as <speed>; there are none in what people say."""
    return text.replace("<", " ").replace(">", " ")
