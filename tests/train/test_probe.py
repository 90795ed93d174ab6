from __future__ import annotations

import numpy as np
import pytest

from edgepress_train.pretrain import probe


def clouds(rng, n, apart, width=6):
    labels = np.arange(n) % 3
    middles = np.eye(3, width) * apart
    return (middles[labels] + rng.normal(size=(n, width)) + 5).astype(np.float32), labels


def slow(known, labels, asked, truth):
    """One example at a time, as the paper says it."""
    middle = known.mean(axis=0)
    known, asked = known - middle, asked - middle
    right = 0
    for one, wanted in zip(asked, truth, strict=True):
        cosines = [float(one @ other / np.linalg.norm(one) / np.linalg.norm(other)) for other in known]
        nearest = np.argsort(cosines)[::-1][: probe.NEIGHBOURS]
        votes = [sum(np.exp(cosines[i] / probe.TEMPERATURE) for i in nearest if labels[i] == c) for c in range(3)]
        right += int(np.argmax(votes)) == wanted
    return right / len(asked)


@pytest.mark.parametrize("apart", [0.0, 1.5, 8.0])
def test_it_is_what_the_neighbours_vote(apart):
    rng = np.random.default_rng(0)
    known, labels = clouds(rng, 120, apart)
    asked, truth = clouds(rng, 60, apart)
    found = probe.accuracy(known, labels, asked, truth)
    assert found == pytest.approx(slow(known, labels, asked, truth))
    assert found == 1.0 if apart == 8.0 else found < 1.0


def test_few_neighbours_are_enough_and_scale_does_not_matter():
    rng = np.random.default_rng(1)
    known, labels = clouds(rng, 6, 20.0)
    asked, truth = clouds(rng, 9, 20.0)
    assert probe.accuracy(known, labels, asked, truth) > 0.3
    assert probe.accuracy(100 * known, labels, 100 * asked, truth) == probe.accuracy(known, labels, asked, truth)


def test_the_same_examples_are_chosen_every_time():
    first = probe.chosen(np.arange(5000), 100)
    assert np.array_equal(first, probe.chosen(np.arange(5000), 100)) and len(set(first)) == 100
    assert len(probe.chosen(np.arange(7), 100)) == 7
