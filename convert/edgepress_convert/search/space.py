"""Which recipes there are to choose from, and how a trial chooses one.

The order of the steps is fixed, since it is the only one in which each keeps what the one before it made: structure
first, then what training mends, then zeros and shared values, then quantization.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from edgepress_train.spec import Step

RATIOS = (0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8)
CRITERIA = ("taylor", "bn", "l1")
EPOCHS = (1, 2, 4)


@dataclass(frozen=True)
class Space:
    """What a search may use.

    `epochs`: most epochs of one fine-tuning. `passes`: names of PASSES. `criteria`: of `prune-channels`.
    """

    epochs: int = 4
    passes: tuple[str, ...] = ("prune-channels", "distil", "prune", "cluster", "qat", "equalize", "ranges")
    criteria: tuple[str, ...] = CRITERIA


def suggest(trial: optuna.Trial, space: Space) -> tuple[Step, ...]:
    """The recipe of `trial`, empty for the model as it is."""
    epochs = [n for n in EPOCHS if n <= space.epochs] or [1]
    steps = []
    if "prune-channels" in space.passes:
        ratio = trial.suggest_categorical("ratio", RATIOS)
        if ratio:
            criterion = trial.suggest_categorical("criterion", space.criteria)
            steps.append(Step("prune-channels", ratio, {"criterion": criterion, "epochs": 0}))
    train = ["none", *(name for name in ("finetune", "distil") if name in (*space.passes, "finetune"))]
    how = trial.suggest_categorical("train", train) if not steps else trial.suggest_categorical("mend", train[1:])
    if how != "none":
        steps.append(Step(how, None, {"epochs": trial.suggest_categorical("train_epochs", epochs)}))
    zip_only = ["none", *(name for name in ("prune", "cluster") if name in space.passes)]
    for_zip = trial.suggest_categorical("zip", zip_only)
    if for_zip == "prune":
        sparsity = trial.suggest_categorical("sparsity", (0.5, 0.7, 0.8))
        steps.append(Step("prune", sparsity, {"epochs": trial.suggest_categorical("prune_epochs", epochs)}))
    elif for_zip == "cluster":
        clusters = trial.suggest_categorical("clusters", (16, 32))
        steps.append(Step("cluster", clusters, {"epochs": trial.suggest_categorical("cluster_epochs", epochs)}))
    last = ["none", *(name for name in ("qat", "equalize", "ranges") if name in space.passes)]
    quantization = trial.suggest_categorical("quantization", last)
    if quantization == "qat":
        steps.append(Step("qat", None, {"epochs": trial.suggest_categorical("qat_epochs", epochs)}))
    elif quantization != "none":
        steps.append(Step(quantization))
    return tuple(steps)


def single_passes(space: Space) -> list[Mapping[str, Any]]:
    """Parameters of the trials that every search begins with: the model as it is, and each pass by itself."""
    epochs = max(n for n in EPOCHS if n <= max(1, space.epochs))
    nothing = {"ratio": 0.0, "train": "none", "zip": "none", "quantization": "none"}
    trials: list[Mapping[str, Any]] = [nothing]
    if "prune-channels" in space.passes:
        pruned = {
            "criterion": "taylor",
            "mend": "finetune",
            "train_epochs": epochs,
            "zip": "none",
            "quantization": "none",
        }
        trials += [{"ratio": ratio, **pruned} for ratio in (0.3, 0.6, 0.8)]
    if "qat" in space.passes:
        trials.append({**nothing, "quantization": "qat", "qat_epochs": epochs})
    if "prune" in space.passes:
        trials.append({**nothing, "zip": "prune", "sparsity": 0.8, "prune_epochs": epochs})
    if "cluster" in space.passes:
        trials.append({**nothing, "zip": "cluster", "clusters": 16, "cluster_epochs": epochs})
    return trials
