"""Clips on disk: one FLAC a clip in the cache, which says inside what it is, so that nothing is spoken twice."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress_train.data import cache
from edgepress_train.data.tts.trim import RATE_HZ, Trimmed
from edgepress_train.data.tts.utterance import Utterance
from edgepress_train.data.tts.voice import EngineMissing

_VERSION = 1  # of how clips are made from speech; a new one makes all anew


@dataclass(frozen=True)
class Clip:
    """A spoken utterance: `path` is 16 kHz mono FLAC, the word lies in its samples [begin, end)."""

    path: Path
    utterance: Utterance
    begin: int
    end: int

    def samples(self) -> np.ndarray:
        """(n,) int16 at 16 kHz."""
        import soundfile

        return soundfile.read(self.path, dtype="int16")[0]

    @property
    def label(self) -> str:
        return self.utterance.label

    @property
    def split(self) -> str:
        return self.utterance.split


@dataclass(frozen=True)
class Dropped:
    """An utterance that gave no usable clip, and why."""

    utterance: Utterance
    reason: str


def key(utterance: Utterance, engine_version: str) -> str:
    """What a clip is called: everything that decides how it sounds, hashed. Label and split are not part of it."""
    parts = dataclasses.asdict(utterance)
    for name in ("label", "kind", "split"):
        del parts[name]
    parts["voice"] = (utterance.voice.engine, utterance.voice.name, utterance.voice.language)
    described = json.dumps([_VERSION, engine_version, parts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(described.encode("utf-8")).hexdigest()[:32]


def path_of(name: str) -> Path:
    """Where the clip `name` lies, or would."""
    return cache.folder(f"speech/{name[:2]}") / f"{name}.flac"


def check_codec() -> None:
    """Raises EngineMissing where FLAC cannot be written."""
    if importlib.util.find_spec("soundfile") is None:
        raise EngineMissing("soundfile is not installed", "pip install 'edgepress[speech]'")


def write(path: Path, clip: Trimmed | str, utterance: Utterance) -> None:
    """Store a clip, or the reason why there is none, whole or not at all."""
    import soundfile

    partial = path.with_name(f"{path.stem}.{os.getpid()}.partial")
    if isinstance(clip, str):
        partial.write_text(clip, encoding="utf-8")
        partial.replace(path.with_suffix(".dropped"))
        return
    with soundfile.SoundFile(partial, "w", RATE_HZ, 1, "PCM_16", format="FLAC") as file:
        file.title = utterance.said
        file.artist = f"{utterance.voice.engine} {utterance.voice.name}"
        file.comment = json.dumps({"begin": clip.begin, "end": clip.end})
        file.write(clip.samples)
    partial.replace(path)


def read(path: Path, utterance: Utterance) -> Clip | Dropped | None:
    """The clip that was stored, or why there is none; None when it has not been spoken yet."""
    import soundfile

    dropped = path.with_suffix(".dropped")
    if path.is_file():
        try:
            with soundfile.SoundFile(path) as file:
                marks = json.loads(file.comment)
            return Clip(path, utterance, int(marks["begin"]), int(marks["end"]))
        except (RuntimeError, ValueError, KeyError, TypeError):
            path.unlink(missing_ok=True)  # damaged: it is made again
            return None
    return Dropped(utterance, dropped.read_text(encoding="utf-8")) if dropped.is_file() else None
