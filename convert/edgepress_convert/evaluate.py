"""How good is a bundle? Judged on held-out data, through the very code that runs on the board."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_runtime.bundle import Bundle, open_bundle
from edgepress_runtime.classify import Classifier
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_train.data import sources
from edgepress_train.data.dataset import Dataset, Holdout, Skipped, Split
from edgepress_train.data.pixels import load_split
from edgepress_train.progress import Progress, silent


@dataclass(frozen=True)
class Evaluation:
    """The fields are the keys of `evaluate --json`; shares are 0 to 1.

    `top5` is None under 6 classes. `per_class` maps each label to `n`, `top1` (its recall), `precision` and `f1`, None
    where nothing defines them. `confusion[i][j]` counts pictures of label i answered as label j, in the order of
    `labels`. `balanced_accuracy` is the mean recall and `f1` the mean F1 of the classes that occur. `data` says what
    was used: `split` is `test`, or `all` for a folder that has no relation to the training data.
    """

    bundle: str
    digest: str
    n: int
    top1: float
    top5: float | None
    balanced_accuracy: float
    f1: float
    per_class: Mapping[str, Mapping[str, Any]]
    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    model_bytes: int
    data: Mapping[str, Any]
    skipped: tuple[Skipped, ...]


def evaluate(path: str | Path, data: str, *, threads: int | None = None, progress: Progress = silent) -> Evaluation:
    """Judge the bundle at `path` on the held-out part of `data`. Raises EdgepressError."""
    bundle = open_bundle(path)
    judge = TASKS.get(bundle.manifest.task)
    if judge is None:
        raise EdgepressError(f"bundles for {bundle.manifest.task} cannot be evaluated", "update edgepress")
    return judge(bundle, data, threads, progress)


def _image(bundle: Bundle, data: str, threads: int | None, progress: Progress) -> Evaluation:
    manifest = bundle.manifest
    dataset, split, part = held_out(bundle, data)
    truth_index = label_map(dataset.labels, manifest.labels, data)
    pixels, kept, undecodable = load_split(split, manifest.preprocessing, progress=progress)
    if not len(kept):
        raise EdgepressError(f"{data} has no held-out picture", "give a data set with a test part, or another folder")
    truth = truth_index[kept.labels]
    with open_engine(bundle.model_source, threads=threads) as engine:
        classifier = Classifier(engine, manifest)
        rows = []
        for done, picture in enumerate(pixels):
            rows.append(classifier.scores(picture))
            progress("evaluate", done + 1, len(pixels), "")
    scores = np.stack(rows)
    counts = confusion(truth, scores.argmax(axis=1), len(manifest.labels))
    described = {"name": dataset.name, "source": data, "split": part, "fingerprint": dataset.fingerprint}
    return Evaluation(
        bundle=manifest.name,
        digest=bundle.digest,
        n=len(truth),
        labels=manifest.labels,
        confusion=tuple(tuple(int(v) for v in row) for row in counts),
        top5=top_k(scores, truth, 5) if len(manifest.labels) >= 6 else None,
        **metrics(counts, manifest.labels),
        model_bytes=len(bundle.model),
        data=described,
        skipped=(*dataset.skipped, *undecodable),
    )


# task of a bundle -> its judge
TASKS: dict[str, Callable[[Bundle, str, int | None, Progress], Evaluation]] = {"image-classification": _image}


def held_out(bundle: Bundle, data: str) -> tuple[Dataset, Split, str]:
    """The part of `data` that the bundle's training never saw, and its name, `test` or `all`.

    The training's own data, known by name or fingerprint, is split as it was then. Another folder without a test part
    of its own is used whole. Raises DataError when the data cannot be opened.
    """
    trained = bundle.manifest.recipe.get("data")
    trained = trained if isinstance(trained, dict) else {}
    dataset = sources.open_dataset(data, holdout=_holdout(trained.get("holdout")))
    ours = dataset.source == trained.get("source") or dataset.fingerprint == trained.get("fingerprint")
    if ours or data in sources.SOURCES or not Path(data).exists():
        return dataset, dataset.splits["test"], "test"
    whole = sources.open_dataset(data, holdout=Holdout(val_fraction=0.0, test_fraction=0.0))
    if len(whole.splits["test"]):
        return whole, whole.splits["test"], "test"
    parts = [whole.splits["train"], whole.splits["val"]]
    everything = Split(parts[0].paths + parts[1].paths, np.concatenate([part.labels for part in parts]))
    return whole, everything, "all"


def _holdout(described: object) -> Holdout:
    """The shares that training held out, or the usual ones when the recipe does not tell."""
    try:
        return Holdout(**described) if isinstance(described, dict) else Holdout()
    except TypeError:
        return Holdout()


def label_map(data_labels: tuple[str, ...], labels: tuple[str, ...], data: str) -> np.ndarray:
    """Index among the bundle's `labels` of each of the data's: (len(data_labels),) int64. Names decide, never order.

    Raises EdgepressError when the data has labels that the bundle does not know.
    """
    unknown = [label for label in data_labels if label not in labels]
    if unknown:
        raise EdgepressError(
            f"{data} has labels that the bundle does not know: {', '.join(unknown[:8])}"
            + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""),
            f"the bundle knows: {', '.join(labels[:8])}{', ...' if len(labels) > 8 else ''}",
        )
    return np.array([labels.index(label) for label in data_labels], np.int64)


def confusion(truth: np.ndarray, answers: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) int64: how often each true class (row) was answered as each class (column)."""
    return np.bincount(truth * classes + answers, minlength=classes * classes).reshape(classes, classes)


def top_k(scores: np.ndarray, truth: np.ndarray, k: int) -> float:
    """Share of rows of `scores` (n, classes) whose true class is among the best `k`; equal scores by label order."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((order == truth[:, np.newaxis]).any(axis=1).mean())


def metrics(counts: np.ndarray, labels: tuple[str, ...]) -> dict[str, Any]:
    """`top1`, `balanced_accuracy`, `f1` and `per_class` of a confusion matrix."""
    right, real, answered = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    per_class = {
        label: {
            "n": int(real[i]),
            "top1": _share(right[i], real[i]),
            "precision": _share(right[i], answered[i]),
            "f1": _share(2 * right[i], real[i] + answered[i]),
        }
        for i, label in enumerate(labels)
    }
    present = [row for row in per_class.values() if row["n"]]
    return {
        "top1": float(right.sum() / max(1, counts.sum())),
        "balanced_accuracy": float(np.mean([row["top1"] for row in present])),
        "f1": float(np.mean([row["f1"] for row in present])),
        "per_class": per_class,
    }


def _share(part: np.integer[Any], whole: np.integer[Any]) -> float | None:
    return float(part / whole) if whole else None
