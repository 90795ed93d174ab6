"""The engines there are, and which of them this machine has."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgepress_train.data.tts.espeak import Espeak
from edgepress_train.data.tts.hibari import Hibari
from edgepress_train.data.tts.kokoro import Kokoro
from edgepress_train.data.tts.pico import Pico
from edgepress_train.data.tts.piper import Piper
from edgepress_train.data.tts.programs import Festival, Flite
from edgepress_train.data.tts.voice import Engine, EngineMissing, SpeechError, Voice

# The most natural first; starting one raises EngineMissing where it is not installed
ENGINES: dict[str, Callable[[], Engine]] = {
    "kokoro": Kokoro,
    "piper": Piper,
    "pico": Pico,
    "hibari": Hibari,
    "flite": Flite,
    "festival": Festival,
    "espeak": Espeak,
}


@dataclass(frozen=True)
class Missing:
    """An engine that was tried and is not here, why, and what to install."""

    engine: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Cast:
    """Every voice of this machine, and the engines that it lacks."""

    voices: tuple[Voice, ...]
    missing: tuple[Missing, ...]

    def of(self, engine: str) -> tuple[Voice, ...]:
        """The voices of one engine."""
        return tuple(voice for voice in self.voices if voice.engine == engine)

    @property
    def engines(self) -> tuple[str, ...]:
        """The engines that have a voice here, the most natural first."""
        return tuple(name for name in ENGINES if self.of(name))


def start(name: str) -> Engine:
    """The engine `name`. Raises SpeechError for an unknown name, EngineMissing where it is not installed."""
    if name not in ENGINES:
        near = difflib.get_close_matches(name, ENGINES, 1)
        raise SpeechError(
            f"unknown speech engine {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            f"known: {', '.join(ENGINES)}",
        )
    return ENGINES[name]()


def find(names: Sequence[str] = tuple(ENGINES)) -> Cast:
    """The voices of the engines `names` that are installed here."""
    voices: list[Voice] = []
    missing = []
    for name in names:
        try:
            voices += start(name).voices()
        except EngineMissing as error:
            missing.append(Missing(name, error.what, error.remedy))
    return Cast(tuple(voices), tuple(missing))
