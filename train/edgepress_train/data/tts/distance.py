"""How far apart two words sound: an edit distance over sounds whose price follows how they are spoken.

Replacing a sound costs up to 1 by the differences in place, manner and voice (consonants) or height, backness and
rounding (vowels), in the spirit of Kondrak 2000, "A new algorithm for the alignment of phonetic sequences" (ALINE).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from edgepress_train.data.tts import phonemes

# place (lips 0 .. throat 1), manner (stop 0, affricate, fricative, nasal, liquid, glide 1), voiced
_CONSONANTS = {
    "p": (0.0, 0.0, 0),
    "b": (0.0, 0.0, 1),
    "t": (0.4, 0.0, 0),
    "T": (0.4, 0.1, 1),
    "ɾ": (0.4, 0.1, 1),
    "d": (0.4, 0.0, 1),
    "k": (0.8, 0.0, 0),
    "ɡ": (0.8, 0.0, 1),
    "ʔ": (1.0, 0.0, 0),
    "ʧ": (0.55, 0.2, 0),
    "ʤ": (0.55, 0.2, 1),
    "f": (0.1, 0.4, 0),
    "v": (0.1, 0.4, 1),
    "θ": (0.3, 0.4, 0),
    "ð": (0.3, 0.4, 1),
    "s": (0.4, 0.4, 0),
    "z": (0.4, 0.4, 1),
    "ʃ": (0.55, 0.4, 0),
    "ʒ": (0.55, 0.4, 1),
    "x": (0.8, 0.4, 0),
    "h": (1.0, 0.5, 0),
    "m": (0.0, 0.6, 1),
    "n": (0.4, 0.6, 1),
    "ŋ": (0.8, 0.6, 1),
    "l": (0.4, 0.8, 1),
    "ɹ": (0.5, 0.8, 1),
    "r": (0.5, 0.8, 1),
    "ʁ": (0.9, 0.7, 1),
    "j": (0.65, 1.0, 1),
    "w": (0.2, 1.0, 1),
}
# height (open 0 .. close 1), backness (front 0 .. back 1), rounded, glide (0 none, -1 towards i, 1 towards u)
_VOWELS = {
    "i": (1.0, 0.0, 0, 0),
    "ɪ": (0.85, 0.15, 0, 0),
    "ᵻ": (0.75, 0.4, 0, 0),
    "e": (0.7, 0.05, 0, 0),
    "ɛ": (0.5, 0.1, 0, 0),
    "æ": (0.2, 0.15, 0, 0),
    "a": (0.0, 0.3, 0, 0),
    "ɑ": (0.0, 0.9, 0, 0),
    "ɒ": (0.1, 0.95, 1, 0),
    "ɔ": (0.35, 0.95, 1, 0),
    "o": (0.65, 0.95, 1, 0),
    "ʊ": (0.85, 0.8, 1, 0),
    "u": (1.0, 0.9, 1, 0),
    "ʌ": (0.35, 0.7, 0, 0),
    "ə": (0.5, 0.5, 0, 0),
    "ᵊ": (0.5, 0.5, 0, 0),
    "ɐ": (0.25, 0.5, 0, 0),
    "ɜ": (0.5, 0.5, 0, 0),
    "A": (0.65, 0.1, 0, -1),
    "I": (0.1, 0.5, 0, -1),
    "Y": (0.4, 0.9, 1, -1),
    "O": (0.6, 0.8, 1, 1),
    "Q": (0.5, 0.6, 0, 1),
    "W": (0.1, 0.5, 0, 1),
}
_REDUCED = "əᵊᵻɐ"
_WEAK = "əᵊᵻʔhɾT"
_INSERT, _INSERT_WEAK = 0.8, 0.45


@functools.lru_cache(1)
def _tables() -> tuple[dict[str, int], np.ndarray, np.ndarray]:
    """Index of each sound (0: any other), price of replacing (sounds, sounds), and of inserting or leaving out."""
    sounds = ["", *_CONSONANTS, *_VOWELS]
    index = {sound: i for i, sound in enumerate(sounds)}
    replace = np.ones((len(sounds), len(sounds)))
    np.fill_diagonal(replace, 0.0)
    for one in sounds[1:]:
        for other in sounds[1:]:
            replace[index[one], index[other]] = _price(one, other)
    insert = np.array([_INSERT_WEAK if sound and sound in _WEAK else _INSERT for sound in sounds])
    return index, replace.astype(np.float32), insert.astype(np.float32)


def _price(one: str, other: str) -> float:
    if one in _CONSONANTS and other in _CONSONANTS:
        (p, m, v), (q, n, w) = _CONSONANTS[one], _CONSONANTS[other]
        return min(1.0, 0.9 * abs(p - q) + 0.9 * abs(m - n) + 0.3 * abs(v - w))
    if one in _VOWELS and other in _VOWELS:
        (h, b, r, g), (i, c, s, k) = _VOWELS[one], _VOWELS[other]
        full = min(1.0, 0.7 * float(np.hypot(h - i, b - c)) + 0.1 * abs(r - s) + 0.2 * abs(g - k))
        return full / 2 if one in _REDUCED or other in _REDUCED else full  # reduced vowels are what accents fill
    return 1.2


def encode(words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Sounds (n, longest) int64 and their numbers (n,) for pronunciations in Kokoro's alphabet."""
    index = _tables()[0]
    plain = [phonemes.bare(word).replace(" ", "") for word in words]
    lengths = np.array([len(word) for word in plain], np.int64)
    codes = np.zeros((len(plain), int(lengths.max(initial=0))), np.int64)
    for row, word in enumerate(plain):
        codes[row, : len(word)] = [index.get(sound, 0) for sound in word]
    return codes, lengths


def distances(target: str, codes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(n,) float32: the distance of `target` from every encoded word, in sounds."""
    _, replace, insert = _tables()
    columns = np.ascontiguousarray(codes.T)  # (longest, n): every step below runs along memory
    price = insert[columns]
    above = np.concatenate([np.zeros((1, len(codes)), np.float32), np.cumsum(price, axis=0)])
    for sound in encode([target])[0][0]:
        here = np.empty_like(above)
        here[0] = above[0] + insert[sound]
        change = replace[sound][columns]
        change += above[:-1]
        for j in range(len(columns)):
            np.minimum(above[j + 1] + insert[sound], here[j] + price[j], out=here[j + 1])
            np.minimum(here[j + 1], change[j], out=here[j + 1])
        above = here
    return above[lengths, np.arange(len(codes))]
