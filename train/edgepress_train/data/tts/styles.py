"""Kokoro's voices as styles: those of speakers, and others derived from them.

A style table is (510, 256) float32, one row for each number of phonemes. The first 128 columns are how the voice
sounds (they reach the decoder), the last 128 how it speaks (rhythm and melody), as in StyleTTS 2, Li et al. 2023,
arXiv:2306.07691, section 3.1. A name says how a style is made, so it needs no table of its own:

    af_bella                    a speaker
    af_bella-am_adam*0.3        af_bella + 0.3 * (af_bella - am_adam): away from am_adam, beyond af_bella
    af_bella/af_nova            the sound of af_bella, speaking as af_nova does
    af_bella-am_adam*0.3/af_nova
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

from edgepress_train.data.tts.voice import SpeechError

ROWS, COLUMNS, SOUND = 510, 256, 128
_NAME = re.compile(r"(?P<sound>[^-*/]+)(-(?P<other>[^-*/]+)\*(?P<amount>[0-9.]+))?(/(?P<manner>[^-*/]+))?")


def derive(sound: str, *, other: str = "", amount: float = 0.0, manner: str = "") -> str:
    """The name of the style that `table_of` makes of these speakers."""
    return sound + (f"-{other}*{amount:.2f}" if other else "") + (f"/{manner}" if manner and manner != sound else "")


def speaker_of(name: str) -> str:
    """The speaker whose sound a style has."""
    return re.split(r"[-/]", name, maxsplit=1)[0]


def speakers_in(name: str) -> tuple[str, ...]:
    """Every speaker that a style is made of."""
    found = _NAME.fullmatch(name)
    return tuple(part for part in (found["sound"], found["other"], found["manner"]) if part) if found else ()


def table_of(name: str, speakers: Mapping[str, np.ndarray]) -> np.ndarray:
    """The (510, 256) float32 table of the style `name`. Raises SpeechError for an unknown speaker."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise SpeechError(f"{name!r} is no name of a Kokoro voice")
    for part in speakers_in(name):
        if part not in speakers:
            raise SpeechError(f"Kokoro has no speaker {part!r} here", "edgepress voices list; edgepress voices add")
    table = speakers[found["sound"]]
    if found["other"]:
        table = table + np.float32(found["amount"]) * (table - speakers[found["other"]])
    if found["manner"]:
        table = np.concatenate([table[:, :SOUND], speakers[found["manner"]][:, SOUND:]], axis=1)
    return table.astype(np.float32)
