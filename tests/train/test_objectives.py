"""Every objective against a second, slower implementation in NumPy, and against what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train.pretrain.objectives import PAIRED, barlow_twins, embedding, masked, simclr, vicreg

RNG = np.random.default_rng(0)
FIRST = RNG.normal(size=(12, 5)).astype(np.float32)
SECOND = (FIRST + 0.3 * RNG.normal(size=(12, 5))).astype(np.float32)


def test_simclr_is_the_papers_sum_over_views():
    views = np.concatenate([FIRST, SECOND]).astype(np.float64)
    views /= np.linalg.norm(views, axis=1, keepdims=True)
    losses = []
    for i in range(24):
        twin = (i + 12) % 24
        others = [np.exp(views[i] @ views[k] / 0.3) for k in range(24) if k != i]
        losses.append(-np.log(np.exp(views[i] @ views[twin] / 0.3) / np.sum(others)))
    assert float(simclr.loss(FIRST, SECOND, temperature=0.3)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_barlow_twins_is_the_papers_cross_correlation():
    matrix = np.empty((5, 5))
    for i in range(5):
        for j in range(5):
            matrix[i, j] = np.corrcoef(FIRST[:, i], SECOND[:, j])[0, 1]
    on = sum((1 - matrix[i, i]) ** 2 for i in range(5))
    off = sum(matrix[i, j] ** 2 for i in range(5) for j in range(5) if i != j)
    assert float(barlow_twins.loss(FIRST, SECOND, redundancy=0.1)) == pytest.approx((on + 0.1 * off) / 5, rel=1e-3)


def test_vicreg_is_the_papers_three_terms():
    def spread(x):
        return np.mean([max(0.0, 1 - np.sqrt(np.var(x[:, j], ddof=1) + 1e-4)) for j in range(5)])

    def apart(x):
        matrix = np.cov(x.T)
        return sum(matrix[i, j] ** 2 for i in range(5) for j in range(5) if i != j) / 5

    small = 0.2 * FIRST, 0.5 * SECOND
    alike = np.mean((small[0] - small[1]) ** 2)
    expected = 3 * alike + 2 * (spread(small[0]) + spread(small[1])) / 2 + 7 * (apart(small[0]) + apart(small[1]))
    told = float(vicreg.loss(*small, invariance=3.0, variance=2.0, covariance=7.0))
    assert told == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", sorted(PAIRED))
def test_twins_cost_less_than_strangers_and_collapse_is_no_way_out(name):
    alike = float(PAIRED[name](FIRST, SECOND))
    assert alike < float(PAIRED[name](FIRST, np.roll(SECOND, 1, axis=0)))
    collapsed = np.zeros_like(FIRST) + FIRST[:1]
    assert alike < float(PAIRED[name](collapsed, collapsed + 1e-4 * SECOND))
    order = np.random.default_rng(1).permutation(12)  # which example is which does not matter
    assert float(PAIRED[name](FIRST[order], SECOND[order])) == pytest.approx(alike, rel=1e-4)


def test_patches_are_whole_and_as_many_as_asked():
    hidden = masked.patches(tf.constant([1, 2]), (6, 16, 24, 3), share=0.5, patch=4).numpy()
    assert hidden.shape == (6, 16, 24, 1) and set(np.unique(hidden)) == {0.0, 1.0}
    squares = hidden.reshape(6, 4, 4, 6, 4)
    assert np.array_equal(squares.min(axis=(2, 4)), squares.max(axis=(2, 4)))
    assert (squares.mean(axis=(2, 4)).sum(axis=(1, 2)) == 12).all()
    assert not np.array_equal(hidden[0], hidden[1])
    odd = masked.patches(tf.constant([1, 2]), (2, 10, 10, 1), share=0.01, patch=4)
    assert odd.shape == (2, 10, 10, 1) and float(tf.reduce_sum(odd)) > 0


def test_spans_cover_the_share_of_time_that_was_asked():
    hidden = masked.spans(tf.constant([3, 4]), (200, 60, 20, 1), share=0.4, frames=6, bands=0.0).numpy()[..., 0]
    assert np.array_equal(hidden.min(axis=2), hidden.max(axis=2))  # whole frames
    assert hidden.mean() == pytest.approx(0.4, abs=0.03)
    rows = hidden[:, :, 0]
    inside = [len(run) for row in rows for run in "".join(str(int(v)) for v in row).strip("1").split("0") if run]
    assert min(inside) >= 6  # spans at the ends may be cut off
    banded = masked.spans(tf.constant([3, 4]), (200, 10, 20, 1), share=0.01, frames=2, bands=0.5).numpy()[..., 0]
    wide = banded.min(axis=1).sum(axis=1)
    assert wide.max() == 10 and wide.min() == 0


def test_the_masked_loss_looks_at_hidden_places_only():
    truth = RNG.normal(size=(2, 4, 4, 3)).astype(np.float32)
    told = RNG.normal(size=(2, 4, 4, 3)).astype(np.float32)
    hidden = (RNG.random((2, 4, 4, 1)) < 0.5).astype(np.float32)
    where = np.broadcast_to(hidden, truth.shape) == 1
    assert float(masked.loss(told, truth, hidden)) == pytest.approx(np.abs(told - truth)[where].mean(), rel=1e-5)
    assert float(masked.loss(np.where(where, told, 99), truth, hidden)) == pytest.approx(
        float(masked.loss(told, truth, hidden)), rel=1e-5
    )
    assert float(masked.loss(told, truth, 0 * hidden)) == 0


def test_the_embedding_loss_is_a_mean_square():
    assert float(embedding.loss(FIRST, SECOND)) == pytest.approx(np.mean((FIRST - SECOND) ** 2), rel=1e-5)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"share": 1.0}, "method 'masked': share is 1.0"),
        ({"share": 0.0}, "method 'masked': share is 0.0"),
        ({"patch": 99}, "method 'masked': patch is 99"),
    ],
)
def test_masks_that_hide_nothing_or_all_are_refused(options, sentence):
    with pytest.raises(EdgepressError) as caught:
        masked.patches(tf.constant([1, 2]), (2, 8, 8, 3), **options)
    assert caught.value.what == sentence
