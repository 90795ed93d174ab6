"""Judging classifiers of text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgepress_convert.evaluate import Evaluation, Request, evaluation, label_map
from edgepress_runtime.bundle import Bundle
from edgepress_runtime.classify_text import TextClassifier
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_train.data.dataset import Holdout
from edgepress_train.data.text import TextDataset, TextSplit, open_texts
from edgepress_train.progress import Progress


def judge(bundle: Bundle, request: Request, progress: Progress) -> Evaluation:
    """Judge `bundle` on the held-out part of labelled texts. Raises EdgepressError."""
    manifest, data = bundle.manifest, request.data
    if data is None:
        raise EdgepressError(f"{manifest.name} reads text and hears nothing", "judge it with --data FILE|DIR")
    dataset, split, part = held_out(bundle, data)
    truth_index = label_map(dataset.labels, manifest.labels, data)
    if not len(split):
        raise EdgepressError(f"{data} has no held-out text", "give data with a test part, or another file")
    with open_engine(bundle.model_source, threads=request.threads or 1) as engine:
        classifier = TextClassifier(engine, bundle)
        rows = []
        for done, text in enumerate(split.texts, 1):
            rows.append(classifier.scores(text))
            progress("evaluate", done, len(split), "")
    account = {"name": dataset.name, "source": data, "split": part, "fingerprint": dataset.fingerprint, "kind": "texts"}
    return evaluation(bundle, np.stack(rows), truth_index[split.labels], account, dataset.skipped)


def held_out(bundle: Bundle, data: str) -> tuple[TextDataset, TextSplit, str]:
    """The part of `data` that the bundle's training never saw, and its name, `test` or `all`.

    The training's own data, known by place or fingerprint, is split as it was then. Other data without a test part of
    its own is used whole.
    """
    trained: Any = bundle.manifest.recipe.get("data")
    trained = trained if isinstance(trained, dict) else {}
    try:
        holdout = Holdout(**trained["holdout"])
    except (KeyError, TypeError):
        holdout = Holdout()
    source = str(Path(data).resolve())
    if source == trained.get("source"):
        dataset = open_texts(data, holdout=holdout)
        return dataset, dataset.splits["test"], "test"
    everything = open_texts(data, holdout=Holdout(val_fraction=0.0, test_fraction=0.0))
    if len(everything.splits["test"]):
        return everything, everything.splits["test"], "test"
    if everything.whole:
        dataset = open_texts(data, holdout=holdout)
        if dataset.fingerprint == trained.get("fingerprint"):
            return dataset, dataset.splits["test"], "test"
    parts = [everything.splits[name] for name in ("train", "val")]
    joined = TextSplit(parts[0].texts + parts[1].texts, np.concatenate([part.labels for part in parts]))
    return everything, joined, "all"
