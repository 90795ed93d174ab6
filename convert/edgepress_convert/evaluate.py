"""How good is a bundle? Judged on held-out data, through the very code that runs on the board.

What is judged, and how, differs by task; see `TASKS`. What all labelled data have in common lies here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_runtime.bundle import Bundle, open_bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_train.data import sources
from edgepress_train.data.dataset import Dataset, Holdout, Skipped, Split
from edgepress_train.progress import Progress, silent

# task of a bundle -> module with `judge(bundle, request, progress)`; imported when used
TASKS: dict[str, str] = {
    "image-classification": "edgepress_convert.evaluate_image",
    "keyword-spotting": "edgepress_convert.evaluate_speech",
    "text-classification": "edgepress_convert.evaluate_text",
}


@dataclass(frozen=True)
class Request:
    """What to judge on: labelled examples (`data`, a folder, zip or name), or, for keyword spotters, streams.

    `positives` holds one folder a keyword, or clips of the only one; `negatives` sound without any. With `noise`
    (`white`, or a folder of noises) at `snr_db` the positives are heard in noise, drawn by `seed`. `threads` of the
    engine, None for its usual.
    """

    data: str | None = None
    positives: Path | None = None
    negatives: Path | None = None
    noise: str | None = None
    snr_db: float | None = None
    seed: int = 0
    threads: int | None = None

    @property
    def streams(self) -> bool:
        """Whether sound is asked for that runs as a stream."""
        return self.positives is not None or self.negatives is not None

    def __post_init__(self) -> None:
        if (self.data is not None) == self.streams:
            raise EdgepressError(
                "evaluate needs one of --data and --positives or --negatives",
                "--data DIR for labelled examples, --positives DIR --negatives DIR for a keyword spotter",
            )
        if (self.noise is None) != (self.snr_db is None) or (self.noise is not None and self.positives is None):
            raise EdgepressError("--noise and --snr go together, with --positives", "such as --noise white --snr 10")
        if self.snr_db is not None and not -60 <= self.snr_db <= 100:
            raise EdgepressError(f"--snr {self.snr_db:g} is outside -60 to 100 dB")


@dataclass(frozen=True)
class Evaluation:
    """The fields are the keys of `evaluate --json`; shares are 0 to 1.

    `top5` is None under 6 classes. `per_class` maps each label to `n`, `top1` (its recall), `precision` and `f1`, None
    where nothing defines them. `confusion[i][j]` counts examples of label i answered as label j, in the order of
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


def evaluate(path: str | Path, request: Request | str, *, progress: Progress = silent) -> Any:
    """Judge the bundle at `path`: an `Evaluation` on labelled data (a text is their name), a `StreamEvaluation` on
    streams. Raises EdgepressError."""
    request = Request(data=request) if isinstance(request, str) else request
    bundle = open_bundle(path)
    if bundle.manifest.task not in TASKS:
        raise EdgepressError(f"bundles for {bundle.manifest.task} cannot be evaluated", "update edgepress")
    return importlib.import_module(TASKS[bundle.manifest.task]).judge(bundle, request, progress)


def evaluation(
    bundle: Bundle, scores: np.ndarray, truth: np.ndarray, data: Mapping[str, Any], skipped: tuple[Skipped, ...]
) -> Evaluation:
    """The evaluation of `scores` (n, labels) against `truth` (n,), indexes among the bundle's labels."""
    labels = bundle.manifest.labels
    counts = confusion(truth, scores.argmax(axis=1), len(labels))
    return Evaluation(
        bundle=bundle.manifest.name,
        digest=bundle.digest,
        n=len(truth),
        labels=labels,
        confusion=tuple(tuple(int(v) for v in row) for row in counts),
        top5=top_k(scores, truth, 5) if len(labels) >= 6 else None,
        **metrics(counts, labels),
        model_bytes=len(bundle.model),
        data=data,
        skipped=skipped,
    )


def held_out(
    bundle: Bundle, data: str, *, opened: Callable[..., Dataset] = sources.open_dataset
) -> tuple[Dataset, Split, str]:
    """The part of `data` that the bundle's training never saw, and its name, `test` or `all`.

    The training's own data, known by name or fingerprint, is split as it was then. Another folder without a test part
    of its own is used whole. `opened` opens data of this kind. Raises DataError when the data cannot be opened.
    """
    trained = bundle.manifest.recipe.get("data")
    trained = trained if isinstance(trained, dict) else {}
    dataset = opened(data, holdout=_holdout(trained.get("holdout")))
    ours = dataset.source == trained.get("source") or dataset.fingerprint == trained.get("fingerprint")
    if ours or data in sources.SOURCES or not Path(data).exists():
        return dataset, dataset.splits["test"], "test"
    whole = opened(data, holdout=Holdout(val_fraction=0.0, test_fraction=0.0))
    if len(whole.splits["test"]):
        return whole, whole.splits["test"], "test"
    parts = [whole.splits["train"], whole.splits["val"]]
    everything = Split(parts[0].paths + parts[1].paths, np.concatenate([part.labels for part in parts]))
    return whole, everything, "all"


def described(dataset: Dataset, data: str, part: str, *, kind: str) -> dict[str, Any]:
    """What an evaluation says about its data; `kind` is what examples are called."""
    return {"name": dataset.name, "source": data, "split": part, "fingerprint": dataset.fingerprint, "kind": kind}


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
