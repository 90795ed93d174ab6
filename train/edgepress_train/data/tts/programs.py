"""Synthesizers that the system has as programs: flite and Festival (both free, Debian packages of those names)."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgepress_train.data.tts.voice import NEUTRAL, EngineMissing, Manner, Speech, SpeechError, Voice

_LIMIT_S = 60


class Flite:
    """CMU Flite's built-in voices: recorded people, joined from diphones or by statistics."""

    name = "flite"
    version = "1"
    alphabet = ""
    _VOICES = ("slt", "awb", "rms", "kal16")

    def __init__(self) -> None:
        self._program = _find("flite", "apt install flite")

    def voices(self) -> tuple[Voice, ...]:
        return tuple(Voice(self.name, name, "en-us", name != "kal16") for name in self._VOICES)

    def say(self, text: str, voice: str, manner: Manner = NEUTRAL, *, phonemes: str = "") -> Speech:
        stretch = f"duration_stretch={manner.tone / manner.speed:.4f}"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            run([self._program, "-voice", voice, "--setf", stretch, "-t", text, "-o", str(path)], "")
            return read(path, manner)


class Festival:
    """Festival, in whichever of its voices is the default."""

    name = "festival"
    version = "1"
    alphabet = ""

    def __init__(self) -> None:
        self._program = _find("text2wave", "apt install festival festvox-us-slt-hts")

    def voices(self) -> tuple[Voice, ...]:
        return (Voice(self.name, "default", "en-us", False),)

    def say(self, text: str, voice: str, manner: Manner = NEUTRAL, *, phonemes: str = "") -> Speech:
        stretch = f"(Parameter.set 'Duration_Stretch {manner.tone / manner.speed:.4f})"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "speech.wav"
            run([self._program, "-eval", stretch, "-o", str(path)], text)
            return read(path, manner)


def _find(program: str, remedy: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise EngineMissing(f"{program} is not on this machine", remedy)
    return path


def run(command: Sequence[str], stdin: str) -> None:
    """Run a synthesizer to its end. Raises SpeechError when it fails, crashes or does not end."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        raise SpeechError(f"{command[0]} did not come to an end within {_LIMIT_S} s") from None
    if done.returncode != 0:
        raise SpeechError(f"{command[0]} failed: {(done.stderr.strip() or 'without a word').splitlines()[-1]}")


def read(path: Path, manner: Manner) -> Speech:
    """The sound file that a synthesizer left, in the tone of `manner`. Raises SpeechError."""
    import soundfile

    try:
        samples, rate_hz = soundfile.read(path, dtype="float32")
    except (OSError, RuntimeError) as error:
        raise SpeechError(f"the synthesizer left no sound: {error}") from None
    return Speech(np.atleast_1d(samples), round(rate_hz * manner.tone))
