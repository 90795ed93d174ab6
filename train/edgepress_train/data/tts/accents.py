"""How speakers of other languages say English: sounds of Kokoro's alphabet replaced by the nearest of their own.

The rules are the commonest substitutions of the literature (Swan & Smith 2001, "Learner English", Cambridge), each
taken with its own probability, so that one accent is spoken more or less strongly.
"""

from __future__ import annotations

import re

import numpy as np

from edgepress_train.data.tts import phonemes

# accent: (what is replaced, a regular expression; by what; how often)
ACCENTS: dict[str, tuple[tuple[str, str, float], ...]] = {
    "indian": (
        ("w", "ʋ", 0.7),
        ("v", "ʋ", 0.5),
        ("[tT]", "ʈ", 0.7),
        ("d", "ɖ", 0.7),
        ("θ", "t", 0.8),
        ("ð", "d", 0.8),
        ("O", "o", 0.6),
        ("A", "e", 0.6),
        ("ɹ", "ɾ", 0.5),
        ("əɹ(?= |$)", "əɾ", 0.5),
    ),
    "spanish": (
        ("ɪ", "i", 0.7),
        ("ʊ", "u", 0.7),
        ("[æʌɑ]", "a", 0.7),
        ("v", "b", 0.6),
        ("z", "s", 0.8),
        ("h", "x", 0.4),
        ("ɹ", "ɾ", 0.7),
        ("(^|(?<= ))([ˈˌ]?)(?=s[ptkmnl])", "ɛ", 0.5),
        ("θ", "t", 0.5),
        ("ð", "d", 0.7),
        ("T", "t", 0.9),
        ("[əᵊ](?=[ptkbdɡmns])", "o", 0.3),
    ),
    "german": (
        ("w", "v", 0.6),
        ("θ", "s", 0.6),
        ("ð", "z", 0.5),
        ("æ", "ɛ", 0.7),
        ("T", "t", 0.9),
        ("ʤ", "ʧ", 0.5),
        ("[zv](?= |$)", "s", 0.4),
        ("d(?= |$)", "t", 0.6),
        ("ɹ(?=[aeiouɑæɛɪɔʊʌəAIOWY])", "ʁ", 0.5),
        ("əɹ", "ɐ", 0.5),
    ),
    "french": (
        ("h", "", 0.7),
        ("θ", "s", 0.6),
        ("ð", "z", 0.7),
        ("ɹ", "ʁ", 0.6),
        ("ɪ", "i", 0.7),
        ("æ", "a", 0.7),
        ("T", "t", 0.9),
        ("ʧ", "ʃ", 0.4),
        ("ʤ", "ʒ", 0.4),
        ("ʌ", "œ", 0.4),
    ),
    "slavic": (
        ("w", "v", 0.5),
        ("θ", "s", 0.5),
        ("ð", "z", 0.6),
        ("ɪ", "i", 0.5),
        ("æ", "ɛ", 0.7),
        ("h", "x", 0.6),
        ("ɹ", "r", 0.6),
        ("T", "t", 0.9),
        ("ə", "a", 0.25),
        ("ŋ", "nɡ", 0.3),
    ),
    "east-asian": (
        ("θ", "s", 0.7),
        ("ð", "z", 0.6),
        ("v", "b", 0.4),
        ("ɹ(?=[aeiouɑæɛɪɔʊʌəAIOWY])", "l", 0.3),
        ("l(?=[aeiouɑæɛɪɔʊʌəAIOWY])", "ɾ", 0.3),
        ("əɹ", "ə", 0.6),
        ("ɪ", "i", 0.5),
        ("æ", "a", 0.5),
        ("T", "t", 0.9),
        ("[td](?= |$)", "", 0.3),
        ("([kpɡb])(?= |$)", r"\1ə", 0.3),
    ),
    "rp": (("ɑ(?=ɹ)", "ɑː", 1.0), ("ɹ(?![aeiouɑæɛɪɔʊʌəAIOWYˈˌ])", "", 0.9), ("T", "t", 1.0), ("O", "Q", 0.9)),
    "casual": (
        ("ə(?=[lnɹ])", "ᵊ", 0.3),
        ("(?<=[a-zɹʃʒʧʤθðŋ])j(?=u)", "", 0.3),
        ("t(?= |$)", "ʔ", 0.4),
        ("(?<=[aeiouɑæɛɪɔʊʌəAIOWYɹ])t(?=[əɪiᵻ])", "ɾ", 0.6),
        ("ŋ(?= |$)", "n", 0.3),
        ("h", "", 0.15),
    ),
}


def speak(sounds: str, accent: str, rng: np.random.Generator) -> str:
    """`sounds` as a speaker with `accent` says them; what would leave no sound at all stays as it is."""
    for pattern, other, share in ACCENTS[accent]:
        if rng.uniform() < share:
            changed = re.sub(pattern, other, sounds)
            if phonemes.bare(changed):
                sounds = changed
    return sounds
