"""What converting a classifier of text needs: utterances to choose ranges by, to verify on, and to be golden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepress_convert import bundle, quantize
from edgepress_convert.convert import ConvertConfig, Finished
from edgepress_convert.examples import Examples
from edgepress_convert.importers import Source
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.text import VOCABULARY, Tokenizer
from edgepress_train import run, train_text
from edgepress_train.data import text
from edgepress_train.data.text import TextDataset
from edgepress_train.progress import Progress

MAX_VERIFIED = 5000  # validation texts that the comparison runs on
_CANDIDATES = 8 * bundle.GOLDEN_CASES  # of which those are taken that every kernel answers alike


def check(config: ConvertConfig) -> None:
    for name in ("false_alarms_per_hour", "smoothing_ms", "refractory_ms"):
        if getattr(config, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            raise EdgepressError(f"{flag} is about keyword spotters, and this model reads text", f"leave {flag} out")


def representative(source: Source, config: ConvertConfig, progress: Progress) -> tuple[np.ndarray, Mapping[str, Any]]:
    """Ids of texts of the training part, (n, length) int32, and the account of them for the recipe."""
    dataset, tokenizer = _reopened(source)
    split = dataset.splits["train"]
    chosen = split.take(quantize.stratified(split.labels, config.calibration_size, seed=config.seed))
    account = {
        "source": dataset.name,
        "split": "train",
        "fingerprint": dataset.fingerprint,
        "size": len(chosen),
        "seed": config.seed,
    }
    return tokenizer.encode_all(chosen.texts), account


def held(source: Source, config: ConvertConfig, progress: Progress) -> Examples:
    """Texts of the validation part."""
    dataset, tokenizer = _reopened(source)
    split = dataset.splits["val"]
    if not len(split):
        raise EdgepressError(
            f"{dataset.name} has no validation part, so nothing can be verified", "train with --val-fraction 0.15"
        )
    split = split.take(quantize.stratified(split.labels, MAX_VERIFIED, seed=config.seed))
    return Examples(tokenizer.encode_all(split.texts), lambda ids: ids, split.labels, "texts")


def finish(model: bytes, held: Examples, source: Source, config: ConvertConfig, progress: Progress) -> Finished:
    """The model as it is, its vocabulary, and texts of every class as golden cases."""
    assert source.folder is not None and held.labels is not None
    _, vocabulary = train_text.tokenizer_of(run.load(source.folder))
    index = quantize.interleaved(held.labels, _CANDIDATES, seed=config.seed)
    return Finished(model, bundle.golden_cases(model, held.stored[index]), members={VOCABULARY: vocabulary})


def _reopened(source: Source) -> tuple[TextDataset, Tokenizer]:
    """The run's data and its tokenizer. Raises EdgepressError when the texts changed."""
    if source.folder is None:
        raise EdgepressError("a text classifier is converted from a RUN folder", "train it with edgepress train text")
    trained = run.load(source.folder)
    return text.reopen(trained.data), train_text.tokenizer_of(trained)[0]
