from __future__ import annotations

import numpy as np

from edgepress_train.data.order import Shuffled


def test_every_epoch_is_a_permutation_of_its_own():
    order = Shuffled(10, 5, seed=3)
    epochs = [np.concatenate([order.index(2 * epoch + k) for k in range(2)]) for epoch in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_any_step_can_be_asked_for_at_any_time():
    forwards, jumping = Shuffled(100, 8, seed=1), Shuffled(100, 8, seed=1)
    wanted = {step: forwards.index(step) for step in range(60)}
    for step in (50, 3, 59, 0, 12):
        assert np.array_equal(jumping.index(step), wanted[step])


def test_fewer_examples_than_a_batch_make_one():
    order = Shuffled(3, 8, seed=0)
    assert (order.batch, order.steps_per_epoch) == (3, 1) and sorted(order.index(5)) == [0, 1, 2]
