"""Train a classifier of text, such as the intents of spoken orders: from a data set to a RUN folder."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import edgepress_train.keras2  # noqa: F401  first: it decides how TensorFlow starts
from edgepress_runtime import disk
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import TextSpec
from edgepress_runtime.text import VOCABULARY, Tokenizer
from edgepress_train import models, run, validation
from edgepress_train.config import as_json
from edgepress_train.config_text import TextConfig, text_config_of
from edgepress_train.data import pipeline_text
from edgepress_train.data import text as texts
from edgepress_train.data.dataset import Holdout
from edgepress_train.data.text import TextDataset
from edgepress_train.data.vocabulary import tokenizer
from edgepress_train.fit import build_optimizer, fit_config
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons, teach
from edgepress_train.models.init import initialise
from edgepress_train.progress import Progress, silent

TASK = "text-classification"


def train(
    config: TextConfig, *, command: Sequence[str] = (), resume: bool = False, force: bool = False,
    progress: Progress = silent,
) -> run.Run:  # fmt: skip
    """Train as `config` says and write the RUN folder `config.out`, with the vocabulary in it.

    The vocabulary is learned from the training utterances, or is that of `config.init`, with its length and its way of
    preparing text. Raises EdgepressError when the data, the configuration or the output folder do not allow it.
    """
    run.refuse(config.out, as_json(config), resume=resume, force=force)
    build_optimizer(fit_config(config, 1))
    dataset = texts.open_texts(
        config.data, holdout=Holdout(config.split_seed, config.val_fraction, config.test_fraction)
    )
    found, vocabulary = _tokenizer(config, dataset)
    keras.utils.set_random_seed(config.seed)
    shape = (found.spec.length, found.spec.pieces)
    model = models.build(config.arch, shape, len(dataset.labels), archs=models.TEXT_ARCHS)
    if config.init:
        _start_from(model, config)
    lessons = gather(config, dataset, found)
    run.prepare(config.out, as_json(config), resume=resume, force=force)
    fitted = teach(
        model,
        lessons,
        config=fit_config(config, lessons.size),
        batch=config.batch,
        seed=config.seed,
        out=config.out,
        resume=resume,
        progress=progress,
    )
    run.write_skipped(config.out, dataset.skipped)
    disk.write_bytes(config.out / VOCABULARY, vocabulary)
    result = run.Run(
        path=config.out,
        task=TASK,
        command=shlex.join(command),
        config=as_json(config),
        labels=dataset.labels,
        preprocessing=found.spec,
        data=dataset.describe(),
        metrics=validation.describe(model, fitted, lessons),
    )
    return run.save(result, model)


def gather(config: TextConfig, dataset: TextDataset, found: Tokenizer) -> Lessons:
    """The utterances of `dataset`, encoded."""
    classes = len(dataset.labels)
    train_split, val_split = dataset.splits["train"], dataset.splits["val"]
    data = pipeline_text.examples(
        found.encode_all(train_split.texts), train_split.labels, classes,
        smoothing=config.label_smoothing, class_weight=config.class_weight,
    )  # fmt: skip
    val = pipeline_text.examples(found.encode_all(val_split.texts), val_split.labels, classes)
    return Lessons(
        labels=dataset.labels,
        preprocessing=found.spec,
        size=len(data),
        train=partial(pipeline_text.train_batches, data, hide=config.mask),
        val=pipeline_text.plain_batches(val) if len(val) else None,
        val_labels=val_split.labels,
    )


def reopen(trained: run.Run, progress: Progress = silent) -> Lessons:
    """The lessons of the finished run `trained`. Raises EdgepressError when its texts changed."""
    return gather(text_config_of(trained.config), texts.reopen(trained.data), tokenizer_of(trained)[0])


def tokenizer_of(trained: run.Run) -> tuple[Tokenizer, bytes]:
    """The tokenizer of a finished run, and the bytes of its vocabulary. Raises EdgepressError."""
    if not isinstance(trained.preprocessing, TextSpec):
        raise EdgepressError(f"{trained.path} is a run for {trained.task}, not for text", "give one of text")
    try:
        data = (trained.path / VOCABULARY).read_bytes()
    except OSError as error:
        raise EdgepressError(f"{trained.path / VOCABULARY} cannot be read: {error.strerror}", "train again") from None
    return Tokenizer(trained.preprocessing, data), data


def _start_from(model: keras.Model, config: TextConfig) -> None:
    """Fill all of `model` but its classifier. Raises EdgepressError for a run of another architecture."""
    filled, layers = initialise(model, config.init), sum(bool(layer.weights) for layer in model.layers)
    if filled < layers - 1:
        before = run.load(config.init).config.get("arch", "")
        raise EdgepressError(
            f"only {filled} of the {layers} layers of --arch {config.arch} have the shapes of {config.init}",
            f"give --arch {before}" if before else "use the architecture that was trained there",
        )


def _tokenizer(config: TextConfig, dataset: TextDataset) -> tuple[Tokenizer, bytes]:
    if config.init:
        if not Path(config.init).is_dir():
            raise EdgepressError(f"--init {config.init!r} is no RUN folder", "give one of: edgepress pretrain text")
        return tokenizer_of(run.load(config.init))
    return tokenizer(
        dataset.splits["train"].texts,
        length=config.length, pieces=config.pieces, case=config.case, accents=config.accents,
    )  # fmt: skip
