"""Texts to ids: against a second, slower tokenizer, by properties, and with vocabularies that lie."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_runtime.errors import BundleError
from edgepress_runtime.preprocessing import PAD, TextSpec, dump_preprocessing, load_preprocessing
from edgepress_runtime.text import (
    FIRST_BYTE,
    FIRST_MERGED,
    MAX_WORD,
    Tokenizer,
    dump_vocabulary,
    normalize,
    read_vocabulary,
    words,
)

MERGED = [b"th", b" t", b" th", b"he", b" the", b"on", b" on", b"\xc3\xa9", b"ll", b" \xe2\x96\x81", b"\\n"]


def make(merged: list[bytes] = MERGED, *, length: int = 16, **spec: str) -> Tokenizer:
    data = dump_vocabulary(merged)
    return Tokenizer(TextSpec(length, FIRST_MERGED + len(merged), hashlib.sha256(data).hexdigest(), **spec), data)


TOKENIZER = make()


def reference(text: str, tokenizer: Tokenizer) -> list[int]:
    """The same ids, found by merging the pairs of one rank after the other over whole words."""
    ranks = {piece: number for number, piece in enumerate(tokenizer.pieces)}
    found = []
    for word in words(normalize(text, tokenizer.spec)):
        parts = [bytes([b]) for b in word]
        while True:
            pairs = [(ranks[a + b], i) for i, (a, b) in enumerate(zip(parts, parts[1:])) if a + b in ranks]
            if not pairs:
                break
            _, at = min(pairs)
            parts = [*parts[:at], parts[at] + parts[at + 1], *parts[at + 2 :]]
        found += [ranks[part] + FIRST_BYTE for part in parts]
    return found


@given(st.one_of(st.text(max_size=40), st.text("thelon lé▁\\", max_size=40)))
@settings(max_examples=200, deadline=None)
def test_no_text_is_unknown_and_its_bytes_come_back(text):
    ids = TOKENIZER.ids(text)
    assert ids == reference(text, TOKENIZER)
    whole = b"".join(TOKENIZER.pieces[i - FIRST_BYTE] for i in ids)
    clean = normalize(text, TOKENIZER.spec)
    assert whole == (b" " + clean.encode() if clean else b"")


@given(st.text(max_size=60), st.sampled_from(["lower", "keep"]), st.sampled_from(["keep", "fold"]))
@settings(max_examples=200, deadline=None)
def test_normalising_twice_changes_nothing(text, case, accents):
    spec = TextSpec(4, FIRST_MERGED, "0" * 64, case, accents)
    once = normalize(text, spec)
    assert normalize(once, spec) == once
    assert once == " ".join(once.split())
    if accents == "fold":
        assert not any(unicodedata.ucd_3_2_0.category(c) == "Mn" for c in once)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("  Turn\tON\u00a0the   Light ", {}, "turn on the light"),
        ("ﬁve ２１° Ⅳ", {}, "five 21° iv"),
        ("Café E\u0301cole", {}, "café école"),
        ("Café É Ångström ñ", {"accents": "fold"}, "cafe e angstrom n"),
        ("Turn ON Café", {"case": "keep"}, "Turn ON Café"),
        ("ΣΑΣ", {}, "σασ"),  # one letter at a time: no end-of-word form that depends on the Python
        ("soft\u00adhyphen \ufefftop\u200b \x07bell\x00", {}, "softhyphen top bell"),
        ("", {}, ""),
        (" \n\u2003 ", {}, ""),
        ("bad \udcff byte", {}, "bad byte"),
        ("emoji 😀!", {}, "emoji 😀!"),
    ],
)
def test_normalising(text, options, expected):
    assert normalize(text, TextSpec(4, FIRST_MERGED, "0" * 64, **options)) == expected


def test_words_are_letters_single_digits_and_single_signs():
    assert list(words("don't set 21.5°, now")) == [
        b" don", b"'", b"t", b" set", b" 2", b"1", b".", b"5", "°".encode(), b",", b" now",
    ]  # fmt: skip


def test_a_long_word_is_cut_so_that_it_takes_no_time():
    found = list(words("x" * (3 * MAX_WORD)))
    assert b"".join(found) == b" " + b"x" * (3 * MAX_WORD)
    assert max(map(len, found)) == MAX_WORD


def test_rows_have_one_length_padding_behind():
    row = TOKENIZER.encode("the")
    assert (row.dtype, row.shape) == (np.int32, (16,))
    assert row.tolist() == [FIRST_MERGED + 4] + [PAD] * 15  # " the"
    assert TOKENIZER.encode("on " * 50).tolist() == [FIRST_MERGED + 6] * 16
    assert TOKENIZER.encode("").tolist() == [PAD] * 16
    assert TOKENIZER.encode_all(["the", ""]).shape == (2, 16)
    assert TOKENIZER.encode_all([]).shape == (0, 16)


def test_a_cut_text_is_the_beginning_of_the_whole():
    text = "the wall " * 20
    assert TOKENIZER.encode(text).tolist() == TOKENIZER.ids(text)[:16]


@given(st.lists(st.binary(min_size=2, max_size=6), unique=True, max_size=20))
@settings(max_examples=100, deadline=None)
def test_a_vocabulary_comes_back_from_its_file_whatever_its_bytes(merged):
    data = dump_vocabulary(merged)
    assert read_vocabulary(data)[256:] == tuple(merged)
    assert data.count(b"\n") == FIRST_MERGED + len(merged)
    data.decode("utf-8")


def test_the_file_can_be_read_by_people():
    lines = dump_vocabulary([b" the", "é".encode(), "é".encode()[:1], "▁".encode()]).decode().splitlines()
    assert lines[:2] == ["<pad>", "<mask>"]
    assert lines[FIRST_BYTE + ord("a")] == "a"
    assert lines[FIRST_BYTE + ord("\n")] == "\\x0a"
    assert lines[FIRST_MERGED:] == ["▁the", "é", "\\xc3", "\\xe2\\x96\\x81"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[:-1],
        lambda data: data.replace(b"<mask>", b"<musk>"),
        lambda data: data.replace(b"\na\n", b"\nb\n"),
        lambda data: data + b"th\n",
        lambda data: data + b"\n",
    ],
    ids=["cut", "no mask", "a byte twice", "a piece twice", "an empty piece"],
)
def test_a_damaged_vocabulary_is_refused(spoil):
    data = spoil(dump_vocabulary(MERGED))
    with pytest.raises(BundleError):
        read_vocabulary(data)


def test_a_vocabulary_of_another_model_is_refused():
    data, other = dump_vocabulary(MERGED), dump_vocabulary(MERGED[::-1])
    spec = TextSpec(16, FIRST_MERGED + len(MERGED), hashlib.sha256(data).hexdigest())
    with pytest.raises(BundleError, match="not the vocabulary that the model was trained with"):
        Tokenizer(spec, other)
    wrong = TextSpec(16, FIRST_MERGED, hashlib.sha256(data).hexdigest())
    with pytest.raises(BundleError, match="has 269 pieces, not 258"):
        Tokenizer(wrong, data)


def test_the_spec_comes_back_from_json():
    spec = TextSpec(24, 2000, "ab" * 32, "keep", "fold")
    assert load_preprocessing(dump_preprocessing(spec)) == spec


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"length": 0}, "a text's length must be between 1 and 1024"),
        ({"pieces": 100}, "a vocabulary has 258 to 65536 pieces, not 100"),
        ({"case": "upper"}, "unknown case 'upper'; known: lower, keep"),
        ({"accents": "drop"}, "unknown accents 'drop'"),
        ({"vocabulary": "x"}, "is not a SHA-256"),
        ({"length": 2.5}, "preprocessing.length should be int"),
        ({"stop_words": []}, "unknown key 'stop_words'"),
    ],
)
def test_an_impossible_spec_is_refused(change, sentence):
    value = {**dump_preprocessing(TextSpec(24, 2000, "ab" * 32)), **change}
    with pytest.raises(BundleError, match=sentence):
        load_preprocessing(value)
