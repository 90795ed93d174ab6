"""Text to sounds. Kokoro's alphabet (IPA with single letters for diphthongs, as `misaki` writes it) is the common one.

English goes through `hibari-tts`, which has a dictionary and a small net for words that are not in it, and is free of
the GPL; where it is missing, and for every other language, through eSpeak NG (optional, GPL-3).
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

from edgepress_train.data.tts.voice import EngineMissing, SpeechError

STRESS = "ˈˌ"
_MARKS = STRESS + "ːʰʲ"  # letters to Unicode, but no sounds
_SAME = str.maketrans({"T": "t", "ɾ": "t", "ᵊ": "ə", "ᵻ": "ɪ"})
# eSpeak's IPA -> Kokoro's alphabet, longest first (misaki's espeak tables, Apache-2.0)
_COMMON = (
    ("t͡ʃ", "ʧ"),
    ("d͡ʒ", "ʤ"),
    ("tʃ", "ʧ"),
    ("dʒ", "ʤ"),
    ("ts", "ʦ"),
    ("dz", "ʣ"),
    ("g", "ɡ"),
)
_ENGLISH = (
    ("aɪə", "Iə"),
    ("aɪɚ", "Iəɹ"),
    ("eɪ", "A"),
    ("aɪ", "I"),
    ("ɔɪ", "Y"),
    ("aʊ", "W"),
    ("oʊ", "O"),
    ("əʊ", "Q"),
    ("ɚ", "əɹ"),
    ("ɝ", "ɜɹ"),
    ("ɜːɹ", "ɜɹ"),
    ("ɐ", "ə"),
    ("r", "ɹ"),
    ("ʔ", "t"),
)


def kokoro(text: str, language: str = "en-us") -> str:
    """The sounds of `text` in Kokoro's alphabet; words stay apart by spaces, punctuation stays.

    Raises EngineMissing where nothing here knows the language, SpeechError for a text without sounds.
    """
    british = language == "en-gb"
    if language in ("en-us", "en-gb", "en") and installed():
        sounds = _english(british)(text)
    else:
        sounds = from_espeak(espeak(text, language), language)
    if not bare(sounds):
        raise SpeechError(f"{text!r} has no sounds in {language}")
    return sounds


def installed() -> bool:
    """Whether the English dictionary is here."""
    return importlib.util.find_spec("hibari") is not None


def bare(sounds: str) -> str:
    """`sounds` without stress, length and punctuation, and one sign for each sound: what words are compared by.

    Spaces stay.
    """
    kept = "".join(sound for sound in sounds if (sound.isalpha() and sound not in _MARKS) or sound == " ")
    kept = kept.translate(_SAME)
    return " ".join(kept.split())


def espeak(text: str, language: str) -> str:
    """eSpeak's IPA of `text`. Raises EngineMissing."""
    from edgepress_train.data.tts import espeak_library

    return espeak_library.load().ipa(text, language)


def from_espeak(ipa: str, language: str) -> str:
    """eSpeak's IPA in Kokoro's alphabet."""
    ipa = ipa.replace("\u0361", "").replace("\u200d", "")
    for old, new in (*_COMMON, *(_ENGLISH if language.startswith("en") else ())):
        ipa = ipa.replace(old, new)
    return ipa.replace("ː", "") if language.startswith("en") and language != "en-gb" else ipa


def to_ipa(sounds: str) -> str:
    """Kokoro's alphabet as plain IPA, as Piper's English voices take it."""
    table = {"A": "eɪ", "I": "aɪ", "Y": "ɔɪ", "W": "aʊ", "O": "oʊ", "Q": "əʊ", "T": "ɾ", "ᵊ": "ə", "ᵻ": "ɪ"}
    table |= {"ʧ": "tʃ", "ʤ": "dʒ", "ʦ": "ts", "ʣ": "dz"}
    return "".join(table.get(sound, sound) for sound in sounds).replace("ɜɹ", "ɜːɹ")


@functools.lru_cache(2)
def _english(british: bool) -> Any:
    try:
        from hibari.g2p import G2P
    except ImportError as error:
        raise EngineMissing(f"hibari-tts cannot be used: {error}", "pip install 'edgepress[speech]'") from None
    return G2P(british=british)
