"""Learning a class from a few examples, in numpy: imprint it into the last layer, then a few steps of regression.

The column of a new class begins as the mean of its embeddings, seen from the mean of all old classes (Qi et al. 2018,
"Low-Shot Learning with Imprinted Weights", arXiv:1712.07136, section 3.2). Logistic regression on the new examples and
on kept ones of the old classes turns it away from what looks like it. Its bias is set so low that of examples
like the kept ones no more than a share of LOST is lost to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgepress_runtime.head import Examples, Head

LEAST = 3  # files that a class is learnt from
LOST = 0.015  # of examples like the kept ones that were right, what a new class may take
NORMAL = 2.17  # standard deviations beyond which a normal distribution has that share
SCALE = 0.5  # of the old columns' length, tried on CIFAR-10 without frogs: 0.25 did as well, 1 found a tenth fewer
STEPS = 60  # on the same: fewer find less, 200 lose more of the old classes
DECAY = 1e-3  # pull of the regression towards where it began
MARGIN, LOWEST, HIGHEST = 0.25, 0.5, 0.99  # of a keyword's threshold, as in edgepress_convert.thresholds


@dataclass(frozen=True)
class Measured:
    """What can be said of a new class, each example judged by a head that did not learn from it.

    `found` of `files` files are answered right, left out one at a time; `old_before` and `old_after` of `old` kept
    examples are, before and after, a half of them held out at a time. `threshold` is a keyword's, None for a picture's.
    """

    files: int
    found: int
    old: int
    old_before: int
    old_after: int
    threshold: float | None = None


def learn(head: Head, kept: Examples, taught: Sequence[Examples]) -> Head:
    """`head` with a column more for each class in `taught`, in their order.

    `kept`: examples of the classes that `head` knows, and of none. Its own columns stay as they are, so that the old
    classes are told from each other as before. Of a taught class, the label 1 marks what shows it, 0 what was around
    it: a recording before and after its word.
    """
    known = range(len(head.bias))
    centres = np.stack([kept.embeddings[kept.labels == number].mean(axis=0) for number in known])
    for one in taught:
        head, kept, centres = _add(head, kept, centres, one)
    return head


def _add(head: Head, kept: Examples, centres: np.ndarray, one: Examples) -> tuple[Head, Examples, np.ndarray]:
    """One class more: the head, the examples to keep from then on, and the classes' centres."""
    number, middle = len(head.bias), centres.mean(axis=0)
    rows, around = one.embeddings[one.labels == 1], one.embeddings[one.labels == 0]
    kept = Examples(np.concatenate([kept.embeddings, around]), np.append(kept.labels, np.full(len(around), -1)))
    centre = rows.mean(axis=0)
    length = float(np.linalg.norm(head.weights, axis=0).mean())
    away = centre - middle
    column = away * (SCALE * length / max(float(np.linalg.norm(away)), 1e-12))
    bias = _bias(head, kept, rows, column, middle)
    column = _regress(head, kept, rows, column, middle)
    weights = np.concatenate([head.weights, column[:, np.newaxis]], axis=1).astype(np.float32)
    after = Head(weights, np.append(head.bias, bias).astype(np.float32))
    labels = np.append(kept.labels, np.full(len(rows), number))
    return after, Examples(np.concatenate([kept.embeddings, rows]), labels), np.vstack([centres, centre])


def _regress(head: Head, kept: Examples, rows: np.ndarray, column: np.ndarray, middle: np.ndarray) -> np.ndarray:
    """A few steps of gradient descent on the cross entropy of the new column alone, both sides counting the same."""
    x = np.concatenate([kept.embeddings, rows])
    old = x @ head.weights + head.bias
    x -= middle
    new = np.append(np.zeros(len(kept), np.float32), np.ones(len(rows), np.float32))
    weight = np.where(new > 0, np.float32(0.5 / len(rows)), np.float32(0.5 / len(kept)))
    rate = 1.0 / (0.25 * float(weight @ np.einsum("nd,nd->n", x, x)) + DECAY)
    first, bias = column, 0.0
    top = np.log(np.exp(old - old.max(axis=1, keepdims=True)).sum(axis=1)) + old.max(axis=1)
    for _ in range(STEPS):
        p = 1.0 / (1.0 + np.exp(np.clip(top - x @ column - bias, -50, 50)))
        off = weight * (p - new)
        column = column - rate * (off @ x + DECAY * (column - first))
        bias -= rate * float(off.sum())
    return column


def _bias(head: Head, kept: Examples, rows: np.ndarray, column: np.ndarray, middle: np.ndarray) -> float:
    """The highest bias that costs examples like the kept ones no more than LOST: that share of those answered right.

    Half of them at a time are judged by a column that was turned away from the other half alone, since it can be turned
    away from the very ones that it learns from at will. Where there are too few for that share to be one of them, what
    a normal distribution of them would have it.
    """
    fold, rooms = _folds(kept.labels), []
    for part in (0, 1):
        held = kept.take(fold == part)
        turned = _regress(head, kept.take(fold != part), rows, column, middle)
        old = held.embeddings @ head.weights + head.bias
        right = (old.argmax(axis=1) == held.labels) | (held.labels < 0)
        rooms.append((old.max(axis=1) - held.embeddings @ turned)[right])  # a higher bias takes that example
    room = np.sort(np.concatenate(rooms))
    if not len(room):
        return 0.0
    # Another example has less room than the k-th of n with a probability of k / (n + 1), whatever they are.
    allowed = int(LOST * (len(kept) + 1))
    if allowed:
        return float(room[min(allowed, len(room)) - 1])
    wide = NORMAL * (1 + 2 / len(room))  # close to Student's quantile of a prediction, from ten examples on
    return float(min(room[0], room.mean() - wide * room.std()))


def measure(
    head: Head, kept: Examples, before: Sequence[Examples], one: Examples, groups: np.ndarray, *, keyword: bool = False
) -> Measured:
    """What `learn` makes of a class with the examples `one` of the files `groups`, after those in `before`.

    A `keyword` gets a threshold: above the highest score for it of anything held out that does not show it, by a share
    MARGIN of what is left to 1, and never below LOWEST.
    """
    number = len(head.bias) + len(before)
    fold, known = _folds(kept.labels), kept.labels >= 0
    right = np.zeros((2, len(kept)), bool)
    others = np.zeros(len(kept))  # the new class's score for what does not show it
    for part in (0, 1):
        learnt, held = kept.take(fold != part), kept.take(fold == part)
        for row, classes in enumerate(([*before], [*before, one])):
            scores = learn(head, learnt, classes).scores(held.embeddings)
            right[row, fold == part] = scores.argmax(axis=1) == held.labels
            others[fold == part] = scores[:, -1]
    top = float(others.max())
    files = np.unique(groups)
    verdicts = []
    for file in files if len(files) > 1 else ():
        left, out = one.take(groups != file), one.take(groups == file)
        scores = learn(head, kept, [*before, left]).scores(out.embeddings)
        # A file has several rows that show the class: the mean of their scores decides.
        verdicts.append(scores[out.labels == 1].mean(axis=0))
        top = max(top, float(scores[out.labels == 0, number].max(initial=0.0)))
    threshold = round(min(HIGHEST, max(LOWEST, top + MARGIN * (1 - top))), 4) if keyword else None
    found = sum(int(v.argmax() == number if threshold is None else v[number] >= threshold) for v in verdicts)
    old_before, old_after = (int(n) for n in right[:, known].sum(axis=1))
    return Measured(len(files), found, int(known.sum()), old_before, old_after, threshold)


def _folds(labels: np.ndarray) -> np.ndarray:
    """0 or 1 for each example, the two in turn within every class."""
    fold = np.zeros(len(labels), int)
    for number in np.unique(labels):
        places = np.flatnonzero(labels == number)
        fold[places] = np.arange(len(places)) % 2
    return fold
