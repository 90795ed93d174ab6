"""The English dictionary of `hibari-tts` (Apache-2.0): how words sound, which are common, and what they are."""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from edgepress_train.data.tts.voice import EngineMissing


@functools.lru_cache(1)
def pronunciations() -> Mapping[str, str]:
    """About 180,000 words in small letters, with their American sounds in Kokoro's alphabet. Raises EngineMissing."""
    words: dict[str, str] = {}
    for name in ("lexicon_us_silver.json.gz", "lexicon_us_gold.json.gz"):
        for word, sounds in _load(name).items():
            sounds = sounds if isinstance(sounds, str) else sounds.get("DEFAULT")
            if sounds and word.isalpha() and len(word) > 1 and (word.islower() or word.istitle()):
                words[word.lower()] = sounds
    return words


@functools.lru_cache(1)
def common() -> tuple[str, ...]:
    """About 19,000 words that running text uses, in the alphabet's order."""
    known = pronunciations()
    return tuple(word for word in _tagger()["vocab"] if word.isalpha() and word in known)


@functools.lru_cache(1)
def by_kind() -> Mapping[str, tuple[str, ...]]:
    """Common words by kind: `NN` noun, `NNS` plural, `NNP` name, `JJ` adjective, `RB` adverb, `VBG` -ing form."""
    known = pronunciations()
    kinds: dict[str, list[str]] = {}
    for word, kind in sorted(_tagger()["tagdict"].items()):
        if word.isalpha() and len(word) > 2 and word.lower() in known and (word.islower() or kind == "NNP"):
            kinds.setdefault(kind, []).append(word)
    return {kind: tuple(words) for kind, words in kinds.items()}


@functools.lru_cache(1)
def _tagger() -> dict[str, Any]:
    return _load("tagger.json.gz")


def _load(name: str) -> dict[str, Any]:
    if importlib.util.find_spec("hibari") is None:
        raise EngineMissing("the English dictionary is not installed", "pip install hibari-tts")
    with resources.files("hibari").joinpath("assets", name).open("rb") as file:
        return json.loads(gzip.decompress(file.read()))
