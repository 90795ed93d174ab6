"""Teachers that do not say how they want to be asked: each way is tried, and the best must beat chance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_train.lessons import Lessons

_BATCHES = 4  # of 64 training examples each


def likeliest(ways: Mapping[str, Callable[[Any], Any]], lessons: Lessons, name: str) -> tuple[str, str]:
    """(key, note): the way of asking under which training examples are most likely, and a sentence that says so.

    Each of `ways` takes inputs (n, *input) and gives probabilities (n, labels). Raises EdgepressError when the best one
    is right no more often than chance, by the mean recall of the classes: within three deviations of guessing.
    """
    batches = list(lessons.train(batch=64, seed=0, start=0, stop=_BATCHES))
    targets = np.concatenate([np.asarray(target) for _, target, _ in batches])
    answers = {key: np.concatenate([np.asarray(ask(inputs)) for inputs, _, _ in batches]) for key, ask in ways.items()}

    def likelihood(key: str) -> float:
        return float((targets * np.log(np.maximum(answers[key], 1e-7))).sum(axis=1).mean())

    best = max(ways, key=likelihood)
    truth = targets.argmax(axis=1)
    right = answers[best].argmax(axis=1) == truth
    classes = np.unique(truth)
    recall, chance = float(np.mean([right[truth == label].mean() for label in classes])), 1 / len(classes)
    if recall <= chance + 3 * np.sqrt(chance * (1 - chance) / len(truth)):
        raise EdgepressError(
            f"the teacher {name} is right on {100 * recall:.0f} % of {len(truth)} training examples, which guessing is "
            "too: its labels are in another order, or it wants its inputs in a way that was not tried",
            "put its labels.txt beside it, or give a bundle: edgepress convert with --labels, --mean and --std",
        )
    return best, f"the teacher {name} takes {best}: so it is right on {100 * recall:.0f} % of training examples"
