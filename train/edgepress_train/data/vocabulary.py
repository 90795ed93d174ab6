"""Learning the pieces of a vocabulary from text: byte-pair encoding (Sennrich et al. 2016, arXiv:1508.07909).

The pair of neighbouring pieces that occurs most often becomes a piece of its own, and so on until there are enough.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.preprocessing import MAX_PIECES, TextSpec
from edgepress_runtime.text import FIRST_MERGED, Tokenizer, dump_vocabulary, normalize, words

Pair = tuple[bytes, bytes]
_SMALLEST = FIRST_MERGED


def tokenizer(texts: Iterable[str], *, length: int, pieces: int, case: str = "lower", accents: str = "keep"):
    """A Tokenizer with a vocabulary of at most `pieces`, learned from `texts`, and the bytes of its `vocab.txt`.

    Texts of few words give fewer pieces: none is learned that occurs once only. Raises EdgepressError for a size that
    cannot be.
    """
    if not _SMALLEST <= pieces <= MAX_PIECES:
        raise EdgepressError(
            f"--pieces is {pieces}, but must be {_SMALLEST} to {MAX_PIECES}", "every byte is a piece of its own"
        )
    draft = TextSpec(length, _SMALLEST, "0" * 64, case, accents)
    counts = Counter(word for text in texts for word in words(normalize(text, draft)))
    return of_merges(learn(counts, pieces - FIRST_MERGED), draft)


def of_merges(merges: list[bytes], draft: TextSpec) -> tuple[Tokenizer, bytes]:
    """The tokenizer of `merges` with the other parameters of `draft`, and the bytes of its `vocab.txt`."""
    data = dump_vocabulary(merges)
    digest = hashlib.sha256(data).hexdigest()
    spec = TextSpec(draft.length, FIRST_MERGED + len(merges), digest, draft.case, draft.accents)
    return Tokenizer(spec, data), data


def learn(counts: Counter[bytes], size: int) -> list[bytes]:
    """At most `size` merged pieces of the words in `counts`, in the order of merging.

    Of pairs that occur equally often the smaller in the order of bytes comes first. A piece that two pairs would make
    is made once.
    """
    cut = [[word[i : i + 1] for i in range(len(word))] for word in counts]
    weights = list(counts.values())
    total: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for number, parts in enumerate(cut):
        for pair in pairwise(parts):
            total[pair] += weights[number]
            where[pair].add(number)
    heap = [(-count, pair) for pair, count in total.items()]
    heapq.heapify(heap)
    merges: dict[bytes, None] = {}
    while heap and len(merges) < size:
        count, pair = heapq.heappop(heap)
        if -count != total[pair]:  # an outdated entry; the right one is in the heap as well
            continue
        if -count < 2:
            break
        merges[pair[0] + pair[1]] = None
        changed: set[Pair] = set()
        for number in where.pop(pair):
            before = cut[number]
            after = _merged(before, pair)
            for old in pairwise(before):
                total[old] -= weights[number]
                changed.add(old)
            for new in pairwise(after):
                total[new] += weights[number]
                where[new].add(number)
                changed.add(new)
            cut[number] = after
        del total[pair]
        for one in changed - {pair}:
            if total[one] > 0:
                heapq.heappush(heap, (-total[one], one))
    return list(merges)


def _merged(parts: list[bytes], pair: Pair) -> list[bytes]:
    joined: list[bytes] = []
    at = 0
    while at < len(parts):
        if at + 1 < len(parts) and (parts[at], parts[at + 1]) == pair:
            joined.append(pair[0] + pair[1])
            at += 2
        else:
            joined.append(parts[at])
            at += 1
    return joined
