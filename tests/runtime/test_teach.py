"""Learning a class: the old columns stay, the new class is found, and what it may cost is kept to; well measured."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress_runtime import teach
from edgepress_runtime.head import Examples, Head, softmax

D, CLASSES, EACH = 12, 5, 60


def clouds(rng, centres, count, spread=0.4):
    """`count` points about each centre, (n, D) float32, and their labels."""
    points = np.concatenate([rng.normal(c, spread, (count, D)) for c in centres]).astype(np.float32)
    return points, np.repeat(np.arange(len(centres)), count)


@pytest.fixture
def world():
    """A head that tells clouds by the nearest centre, kept examples, and the centres of two more classes."""
    rng = np.random.default_rng(0)
    centres = rng.normal(0, 1.0, (CLASSES + 2, D))
    known = centres[:CLASSES]
    head = Head((4 * known.T).astype(np.float32), (-2 * (known**2).sum(axis=1)).astype(np.float32))
    kept = Examples(*clouds(rng, known, EACH))
    return head, kept, centres, rng


def shown(rng, centre, count=5):
    return Examples(rng.normal(centre, 0.4, (count, D)).astype(np.float32), np.ones(count, np.int64))


def test_five_examples_are_enough_and_the_old_classes_keep_theirs(world):
    head, kept, centres, rng = world
    fresh, truth = clouds(rng, centres[:CLASSES], 400)
    before = (head.logits(fresh).argmax(axis=1) == truth).mean()
    found, lost = [], []
    for _ in range(10):
        after = teach.learn(head, kept, [shown(rng, centres[CLASSES])])
        new = rng.normal(centres[CLASSES], 0.4, (400, D)).astype(np.float32)
        found.append((after.logits(new).argmax(axis=1) == CLASSES).mean())
        lost.append(before - (after.logits(fresh).argmax(axis=1) == truth).mean())
    assert np.mean(found) > 0.85
    assert np.mean(lost) < 0.02


def test_old_columns_are_not_touched_and_old_classes_are_told_apart_as_before(world):
    head, kept, centres, rng = world
    after = teach.learn(head, kept, [shown(rng, centres[CLASSES]), shown(rng, centres[CLASSES + 1])])
    assert after.weights.shape == (D, CLASSES + 2)
    assert after.weights.dtype == after.bias.dtype == np.float32
    assert np.array_equal(after.weights[:, :CLASSES], head.weights)
    assert np.array_equal(after.bias[:CLASSES], head.bias)


def test_of_examples_like_the_kept_ones_no_more_than_the_allowed_share_is_lost(world):
    head, _, centres, rng = world
    fresh, truth = clouds(rng, centres[:CLASSES], 400)
    right = head.logits(fresh).argmax(axis=1) == truth
    for centre in (centres[CLASSES], centres[0]):  # the second is an old class taught again: everything overlaps
        lost = []
        for _ in range(20):
            some = Examples(*clouds(rng, centres[:CLASSES], EACH))
            after = teach.learn(head, some, [shown(rng, centre)])
            lost.append((right & (after.logits(fresh).argmax(axis=1) != truth)).mean())
        assert np.mean(lost) < 1.3 * teach.LOST


def test_few_kept_examples_in_many_dimensions_are_not_believed_when_they_say_all_is_well():
    """Four of each class, 200 numbers each: any column can be turned away from these very ones."""
    rng = np.random.default_rng(1)
    centres = rng.normal(0, 0.25, (CLASSES + 1, 200))
    head = Head(
        (4 * centres[:CLASSES].T).astype(np.float32), (-2 * (centres[:CLASSES] ** 2).sum(axis=1)).astype(np.float32)
    )

    def drawn(count):
        points = rng.normal(np.repeat(centres[:CLASSES], count, axis=0), 0.5).astype(np.float32)
        return Examples(points, np.repeat(np.arange(CLASSES), count))

    fresh, lost = drawn(300), []
    right = head.logits(fresh.embeddings).argmax(axis=1) == fresh.labels
    for _ in range(20):
        new = Examples(rng.normal(centres[CLASSES], 0.5, (5, 200)).astype(np.float32), np.ones(5, np.int64))
        after = teach.learn(head, drawn(4), [new])
        lost.append((right & (after.logits(fresh.embeddings).argmax(axis=1) != fresh.labels)).mean())
    assert np.mean(lost) < 2.5 * teach.LOST


def test_what_was_around_the_word_is_learnt_as_not_it(world):
    head, kept, centres, rng = world
    quiet = rng.normal(2.5 * centres[CLASSES], 0.2, (10, D)).astype(np.float32)
    one = shown(rng, centres[CLASSES])
    both = Examples(np.concatenate([one.embeddings, quiet]), np.append(one.labels, np.zeros(10, np.int64)))
    alone, with_it = (teach.learn(head, kept, [examples]).scores(quiet)[:, -1].mean() for examples in (one, both))
    assert alone > 0.9
    assert with_it < 0.3


def test_the_regression_is_the_gradient_descent_that_it_says(world, monkeypatch):
    head, kept, centres, rng = world
    one = shown(rng, centres[CLASSES])
    monkeypatch.setattr(teach, "STEPS", 1)
    found = teach.learn(head, kept, [one]).weights[:, -1]
    # by hand, with the derivative of the weighted cross entropy taken numerically
    middle = np.stack([kept.embeddings[kept.labels == c].mean(axis=0) for c in range(CLASSES)]).mean(axis=0)
    away = one.embeddings.mean(axis=0) - middle
    first = away / np.linalg.norm(away) * teach.SCALE * np.linalg.norm(head.weights, axis=0).mean()
    x = np.concatenate([kept.embeddings, one.embeddings]).astype(np.float64)
    new = np.append(np.zeros(len(kept)), np.ones(5))
    weight = np.where(new > 0, 0.1, 0.5 / len(kept))

    def loss(column):
        logits = np.concatenate([x @ head.weights + head.bias, ((x - middle) @ column)[:, np.newaxis]], axis=1)
        p = softmax(logits)[:, -1]
        return -(weight * np.where(new > 0, np.log(p), np.log1p(-p))).sum()

    step = 1e-5
    gradient = np.array([(loss(first + step * e) - loss(first - step * e)) / (2 * step) for e in np.eye(D)])
    rate = 1 / (0.25 * (weight * ((x - middle) ** 2).sum(axis=1)).sum() + teach.DECAY)
    assert np.allclose(found, first - rate * gradient, atol=2e-4)


def test_measured_by_examples_that_were_held_out(world):
    head, kept, centres, rng = world
    one = shown(rng, centres[CLASSES], 10)
    found = teach.measure(head, kept, [], one, np.repeat(np.arange(5), 2))
    assert (found.files, found.old, found.threshold) == (5, CLASSES * EACH, None)
    assert found.found >= 4
    assert found.old_before == (head.logits(kept.embeddings).argmax(axis=1) == kept.labels).sum()
    assert found.old_before - 0.03 * found.old <= found.old_after <= found.old_before
    # one file of something else altogether is not found when the others are learnt from
    odd = one.embeddings.copy()
    odd[:2] = centres[1]
    assert teach.measure(head, kept, [], Examples(odd, one.labels), np.repeat(np.arange(5), 2)).found <= found.found - 1


def test_a_keyword_gets_a_threshold_above_everything_that_is_not_it(world):
    head, kept, centres, rng = world
    one = shown(rng, centres[CLASSES], 10)
    groups = np.repeat(np.arange(5), 2)
    clear = teach.measure(head, kept, [], one, groups, keyword=True)
    assert teach.LOWEST <= clear.threshold < teach.HIGHEST
    # Half of the kept examples at a time are judged by a head that learnt from the other half: the odd and the even.
    even = np.concatenate([np.flatnonzero(kept.labels == c)[::2] for c in range(CLASSES)])
    odd = np.setdiff1d(np.arange(len(kept)), even)
    for learnt, held in ((even, odd), (odd, even)):
        scores = teach.learn(head, kept.take(learnt), [one]).scores(kept.embeddings[held])[:, -1]
        assert clear.threshold >= scores.max() + teach.MARGIN * (1 - scores.max()) - 1e-4 or scores.max() > 0.98
    # nothing is found where the very same examples lie among what is not the word
    near = Examples(np.concatenate([kept.embeddings, one.embeddings]), np.append(kept.labels, np.full(10, -1)))
    assert teach.measure(head, near, [], one, groups, keyword=True).found == 0


def test_the_same_examples_give_the_same_head(world):
    head, kept, centres, rng = world
    one, two = shown(rng, centres[CLASSES]), shown(rng, centres[CLASSES + 1])
    first, again = (teach.learn(head, kept, [one, two]) for _ in range(2))
    assert np.array_equal(first.weights, again.weights)
    assert np.array_equal(teach.learn(head, kept, [one]).weights, first.weights[:, :-1])
