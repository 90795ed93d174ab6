"""Learning pieces: against a byte-pair encoder that counts everything anew after each merge."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.text import FIRST_MERGED, Tokenizer
from edgepress_train.data.vocabulary import learn, tokenizer


def slow(counts: Counter[bytes], size: int) -> list[bytes]:
    cut = {word: [word[i : i + 1] for i in range(len(word))] for word in counts}
    merges: list[bytes] = []
    while len(merges) < size:
        pairs: Counter[tuple[bytes, bytes]] = Counter()
        for word, parts in cut.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        if pairs[best] < 2:
            break
        if best[0] + best[1] not in merges:
            merges.append(best[0] + best[1])
        for word, parts in cut.items():
            at, joined = 0, []
            while at < len(parts):
                step = 2 if tuple(parts[at : at + 2]) == best else 1
                joined.append(b"".join(parts[at : at + step]))
                at += step
            cut[word] = joined
    return merges


@pytest.mark.parametrize("seed", range(6))
def test_the_same_pieces_as_counting_everything_anew(seed):
    rng = np.random.default_rng(seed)
    letters = b"abcde" if seed % 2 else b"ab"  # few letters: ties, and pairs that overlap themselves as in "aaa"
    words = [bytes(rng.choice(list(letters), rng.integers(1, 9))) for _ in range(60)]
    counts = Counter({word: int(rng.integers(1, 5)) for word in words})
    assert learn(counts, 40) == slow(counts, 40)


def test_frequent_words_become_one_piece_and_rare_ones_do_not():
    found, _ = tokenizer(["turn on the light"] * 5 + ["xylophone"], length=8, pieces=2000)
    assert [len(found.ids(word)) for word in ("turn", "on", "the light")] == [1, 1, 2]
    assert len(found.ids("xylophone")) > 5
    assert found.spec.pieces < 2000  # nothing is learned that occurs once


def test_the_size_is_kept_to_and_the_file_is_the_one_of_the_spec():
    texts = [f"number {n} of many words {n * n}" for n in range(50)]
    found, data = tokenizer(texts, length=8, pieces=FIRST_MERGED + 7, accents="fold")
    assert (found.spec.pieces, found.spec.accents) == (FIRST_MERGED + 7, "fold")
    again = Tokenizer(found.spec, data)
    assert all(again.ids(text) == found.ids(text) for text in texts)


def test_the_order_of_the_texts_does_not_matter():
    texts = ["lock the door", "open the door", "open the blinds", "the door is open"]
    assert tokenizer(texts, length=8, pieces=300)[1] == tokenizer(texts[::-1], length=8, pieces=300)[1]


@pytest.mark.parametrize("pieces", [10, 257, 100_000])
def test_an_impossible_size_is_refused(pieces):
    with pytest.raises(EdgepressError, match=f"--pieces is {pieces}, but must be 258 to 65536"):
        tokenizer(["a"], length=8, pieces=pieces)
