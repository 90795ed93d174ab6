from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data.budget import Budget, kept
from edgepress_train.data.dataset import Split

LABELS = np.array([0] * 50 + [1] * 20 + [2] * 3)
SPLIT = Split(tuple(Path(f"{i}.png") for i in range(73)), LABELS)


def counts(split):
    return np.bincount(split.labels, minlength=3).tolist()


def test_every_class_keeps_its_share_and_at_least_one():
    assert counts(kept(SPLIT, Budget(fraction=0.1))) == [5, 2, 1]
    assert counts(kept(SPLIT, Budget(per_class=5))) == [5, 5, 3]
    assert counts(kept(SPLIT, Budget(fraction=0.5, per_class=12))) == [12, 10, 2]
    assert kept(SPLIT, Budget()) is SPLIT


def test_the_seed_chooses_and_a_smaller_budget_is_part_of_a_larger_one():
    chosen = {seed: kept(SPLIT, Budget(per_class=5, seed=seed)).paths for seed in (0, 0, 1)}
    assert chosen[0] == kept(SPLIT, Budget(per_class=5)).paths != chosen[1]
    assert set(chosen[0]) < set(kept(SPLIT, Budget(per_class=9)).paths)
    assert set(kept(SPLIT, Budget(0.1)).paths) < set(kept(SPLIT, Budget(0.4)).paths)
    order = [SPLIT.paths.index(path) for path in chosen[0]]
    assert order == sorted(order)


def test_labels_go_with_their_examples():
    few = kept(SPLIT, Budget(0.3, seed=3))
    assert all(LABELS[int(path.stem)] == label for path, label in zip(few.paths, few.labels, strict=True))


def test_a_number_of_labels_means_nothing_where_labels_are_soft():
    soft = Split(SPLIT.paths, SPLIT.labels, np.full((73, 3), 1 / 3, np.float32))
    assert len(kept(soft, Budget(0.1))) == 8
    with pytest.raises(EdgepressError, match="soft labels"):
        kept(soft, Budget(per_class=2))
