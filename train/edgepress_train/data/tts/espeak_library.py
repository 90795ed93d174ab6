"""The C library of eSpeak NG, by ctypes. GPL-3: it is only ever loaded when the user has installed it.

It comes with PyPI's `espeakng-loader`, or from the system (`apt install libespeak-ng1`). It has one state a process,
so `load` gives the same object to everybody.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
from typing import Any

import numpy as np

from edgepress_train.data.tts.voice import EngineMissing, SpeechError

# speak_lib.h of eSpeak NG 1.5x
_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_UTF8 = 1
_MNEMONICS = 0x100  # [[...]] holds phonemes
_CHARACTERS = 1  # positions are counted in characters
_IPA = 0x02
RATE, PITCH, RANGE = 1, 3, 4
_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Library:
    """A started eSpeak NG: `rate_hz` of what it speaks, `version` as it tells it."""

    def __init__(self, library: ctypes.CDLL, data: str | None) -> None:
        self._library = library
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        library.espeak_Info.restype = ctypes.c_char_p
        library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self.rate_hz = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode() if data else None, _DONT_EXIT)
        if self.rate_hz <= 0:
            raise EngineMissing("eSpeak NG does not find its data", "pip install espeakng-loader")
        self.version = library.espeak_Info(None).decode("ascii", "replace").split(" ")[0]
        self._heard: list[np.ndarray] = []
        self._callback = _Callback(self._hear)  # must outlive the library
        library.espeak_SetSynthCallback(self._callback)

    def choose(self, voice: str) -> None:
        """Speak as `voice`: a language with an optional variant, `en-us+f2`. Raises SpeechError."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SpeechError(f"eSpeak NG has no voice {voice!r}")

    def set(self, parameter: int, value: int) -> None:
        """Set RATE (words a minute), PITCH or RANGE (0 to 100)."""
        self._library.espeak_SetParameter(parameter, value, 0)

    def say(self, text: str) -> np.ndarray:
        """(n,) int16 samples of `text`; `[[...]]` in it are eSpeak's mnemonics."""
        self._heard = []
        raw = text.encode("utf-8")
        code = self._library.espeak_Synth(raw, len(raw) + 1, 0, _CHARACTERS, 0, _UTF8 | _MNEMONICS, None, None)
        if code != 0:
            raise SpeechError(f"eSpeak NG cannot say {text[:40]!r} (code {code})")
        return np.concatenate(self._heard) if self._heard else np.zeros(0, np.int16)

    def ipa(self, text: str, language: str) -> str:
        """IPA of `text`, clauses apart by commas."""
        self.choose("en" if language == "en-gb" else language)
        left: Any = ctypes.c_char_p(text.encode("utf-8"))
        clauses = []
        while left.value is not None:
            clause = self._library.espeak_TextToPhonemes(ctypes.byref(left), _UTF8, _IPA)
            if clause:
                clauses.append(clause.decode("utf-8").strip())
        return ", ".join(clause for clause in clauses if clause)

    def _hear(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


@functools.lru_cache(1)
def load() -> Library:
    """The library of this process. Raises EngineMissing."""
    if importlib.util.find_spec("espeakng_loader") is not None:
        import espeakng_loader

        path, data = espeakng_loader.get_library_path(), espeakng_loader.get_data_path()
    else:
        path, data = ctypes.util.find_library("espeak-ng"), None
    if not path:
        raise EngineMissing("eSpeak NG is not installed", "pip install espeakng-loader (GPL-3)")
    try:
        return Library(ctypes.CDLL(path), data)
    except OSError as error:
        raise EngineMissing(f"eSpeak NG cannot be loaded: {error}", "pip install espeakng-loader (GPL-3)") from None
