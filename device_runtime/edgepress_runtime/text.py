"""Text to model input: the one preprocessing of training and board. Standard library and numpy only.

A text is normalised, cut into words, and each word into the pieces of a vocabulary that was learned at training
(byte-pair encoding, Sennrich et al. 2016, arXiv:1508.07909). Every byte is a piece, so no text is unknown. Characters
are told apart by Unicode 3.2, which every Python carries: a board and a host of different age find the same pieces.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from unicodedata import ucd_3_2_0 as unicode

import numpy as np

from edgepress_runtime.errors import BundleError, EdgepressError
from edgepress_runtime.preprocessing import PAD, SPECIALS, TextSpec

VOCABULARY = "vocab.txt"
FIRST_BYTE = len(SPECIALS)  # id of the byte 0; the other bytes follow, then what was merged, in the order of merging
FIRST_MERGED = FIRST_BYTE + 256
MAX_WORD = 64  # bytes; a longer word is cut, or merging would take time by its square
_CACHED_WORDS = 4096
_SPACE = "▁"  # how a leading space is written in `vocab.txt`
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")


class TextError(EdgepressError):
    """A text that cannot be judged; `what` says why."""


class Tokenizer:
    """From texts to ids as `spec` says, with the bytes of its `vocab.txt`.

    Raises BundleError for a vocabulary that is not the one in `spec`.
    """

    def __init__(self, spec: TextSpec, vocabulary: bytes) -> None:
        if hashlib.sha256(vocabulary).hexdigest() != spec.vocabulary:
            raise BundleError(f"{VOCABULARY} is not the vocabulary that the model was trained with", "make it again")
        self.spec = spec
        self.pieces = read_vocabulary(vocabulary)
        if FIRST_BYTE + len(self.pieces) != spec.pieces:
            raise BundleError(f"{VOCABULARY} has {FIRST_BYTE + len(self.pieces)} pieces, not {spec.pieces}")
        self._ids = {piece: number for number, piece in enumerate(self.pieces, FIRST_BYTE)}
        self._word = lru_cache(_CACHED_WORDS)(self._cut)

    def ids(self, text: str, limit: int | None = None) -> list[int]:
        """The pieces of all of `text`, or of so much that there are `limit`."""
        found: list[int] = []
        for word in words(normalize(text, self.spec)):
            found += self._word(word)
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found

    def encode(self, text: str) -> np.ndarray:
        """The model's input: (length,) int32, the first pieces of `text`, then padding."""
        found = self.ids(text, self.spec.length)
        row = np.full(self.spec.length, PAD, np.int32)
        row[: len(found)] = found
        return row

    def encode_all(self, texts: Sequence[str]) -> np.ndarray:
        """(n, length) int32, one row a text."""
        if not texts:
            return np.zeros((0, self.spec.length), np.int32)
        return np.stack([self.encode(text) for text in texts])

    def _cut(self, word: bytes) -> tuple[int, ...]:
        parts = [word[i : i + 1] for i in range(len(word))]
        ids = self._ids
        never = len(ids) + FIRST_BYTE
        while len(parts) > 1:
            # The pair that was merged first in training; of equal ones the leftmost.
            ranks = [ids.get(a + b, never) for a, b in zip(parts, parts[1:])]
            best = min(ranks)
            if best == never:
                break
            at = ranks.index(best)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return tuple(ids[part] for part in parts)


def normalize(text: str, spec: TextSpec) -> str:
    """`text` in Unicode's form NFKC, in lower case and without accents where `spec` says so, single spaces between
    words and none around. Control characters become spaces; invisible format characters vanish. Doing it twice changes
    nothing."""
    if not text.isascii():
        text = _unify(text, spec)
    if spec.case == "lower":
        text = text.lower() if text.isascii() else "".join(map(_lower, text))
    if not text.isascii():
        text = _unify(text, spec)  # lower case can leave an accent of its own behind
    return " ".join("".join(map(_visible, text)).split())


def words(text: str) -> Iterator[bytes]:
    """The words of a normalised text, in UTF-8: runs of letters, single digits, single signs.

    One that follows a space, or begins the text, carries a leading space. Words of more than MAX_WORD bytes are cut.
    """
    for chunk in text.split(" "):
        gap = " "
        run = ""
        for c in chunk:
            if c.isalpha() if c.isascii() else _is_letter(c):
                run += c
                continue
            if run:
                yield from _short(gap + run)
                gap, run = "", ""
            yield from _short(gap + c)
            gap = ""
        if run:
            yield from _short(gap + run)


def dump_vocabulary(merged: Iterable[bytes]) -> bytes:
    """`vocab.txt`: one piece a line, its number is its id: the special ones, the 256 bytes, and `merged` in order.

    A space is written as `▁`, a byte that is no printable text by itself as `\\xNN`.
    """
    lines = [*SPECIALS, *(_line(bytes([value])) for value in range(256)), *map(_line, merged)]
    return "".join(f"{line}\n" for line in lines).encode("utf-8")


def read_vocabulary(data: bytes) -> tuple[bytes, ...]:
    """The pieces behind the special ones in a `vocab.txt`, each as bytes. Raises BundleError for a damaged one."""
    lines = data.split(b"\n")
    if lines.pop() != b"" or tuple(line.decode("utf-8", "replace") for line in lines[:FIRST_BYTE]) != SPECIALS:
        raise BundleError(f"{VOCABULARY} is damaged", "make the bundle again")
    space = _SPACE.encode()
    pieces = tuple(
        _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), line.replace(space, b" ")) for line in lines[FIRST_BYTE:]
    )
    if (
        pieces[:256] != tuple(bytes([value]) for value in range(256))
        or len(set(pieces)) != len(pieces)
        or b"" in pieces
    ):
        raise BundleError(f"{VOCABULARY} lacks a byte, or holds a piece twice", "make the bundle again")
    return pieces


def _line(piece: bytes) -> str:
    text = piece.replace(b"\\", b"\\x5c").decode("utf-8", "backslashreplace").replace(_SPACE, "\\xe2\\x96\\x81")
    return "".join(c if c > " " and c != "\x7f" else _SPACE if c == " " else f"\\x{ord(c):02x}" for c in text)


def _unify(text: str, spec: TextSpec) -> str:
    if spec.accents == "fold":
        text = "".join(c for c in unicode.normalize("NFKD", text) if unicode.category(c) != "Mn")
    return unicode.normalize("NFKC", text)


def _lower(c: str) -> str:
    return c.lower() if unicode.category(c) in ("Lu", "Lt") else c


def _visible(c: str) -> str:
    if c.isascii():
        return c if c >= " " and c != "\x7f" else " "
    kind = unicode.category(c)
    # Unicode 3.2 took the soft hyphen for a dash.
    return " " if kind in ("Cc", "Zs", "Zl", "Zp") else "" if kind in ("Cf", "Cs") or c == "\u00ad" else c


def _is_letter(c: str) -> bool:
    # What Unicode 3.2 did not know yet is taken for a letter: new scripts have words, too.
    return unicode.category(c)[0] in "LM" or unicode.category(c) in ("Cn", "Co")


def _short(word: str) -> Iterator[bytes]:
    data = word.encode("utf-8")
    for start in range(0, len(data), MAX_WORD):
        yield data[start : start + MAX_WORD]
