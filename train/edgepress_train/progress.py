"""How long-running steps tell what they are doing, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Callable

# stage ("decode", "train", ...), done, total, a short note such as "epoch 3/60 · val_accuracy 0.82"
Progress = Callable[[str, int, int, str], None]


def silent(stage: str, done: int, total: int, note: str) -> None:
    """Shows nothing."""
