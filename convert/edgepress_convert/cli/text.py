"""`edgepress train text` and `edgepress pretrain text`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepress_convert.cli import options, output, train
from edgepress_convert.cli.options import Force, Json

if TYPE_CHECKING:
    from rich.console import Console

    from edgepress_train.run import Run

TRAIN_EXAMPLE = "for example: edgepress train text --data intents.csv --out runs/intents"
PRETRAIN_EXAMPLE = (
    "for example: edgepress pretrain text --data notes.txt --out runs/words && "
    "edgepress train text --data intents.csv --init runs/words --out runs/intents"
)

Arch = Annotated[str | None, typer.Option(help="Architecture, as transformer:dim=96:blocks=2.")]
Length = Annotated[int | None, typer.Option(min=1, help="Pieces of a text that the net sees.")]
Pieces = Annotated[int | None, typer.Option(help="Size of the vocabulary.")]
Case = Annotated[str | None, typer.Option(help="lower, or keep capital letters apart.")]
Accents = Annotated[str | None, typer.Option(help="keep, or fold é to e.")]
Batch = Annotated[int | None, typer.Option(min=1, help="Texts a step.")]
Patience = Annotated[int | None, typer.Option(min=0, help="Epochs without gain before stopping, 0: never.")]
Seed = Annotated[int | None, typer.Option(help="Of weights, order and what is hidden.")]
SplitSeed = Annotated[int | None, typer.Option(help="Of the split into parts.")]
ValFraction = Annotated[float | None, typer.Option(help="Share split off for validation.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training.")]
_CONTROL = ("resume", "force", "json")


def train_text(
    data: Annotated[str, typer.Option(help="Folder or zip of intent/*.txt, one text a line; or .csv, .tsv, .jsonl.")],
    out: options.Out,
    arch: Arch = None,
    init: Annotated[str | None, typer.Option(help="RUN folder to start from, with its vocabulary.")] = None,
    length: Length = None,
    pieces: Pieces = None,
    case: Case = None,
    accents: Accents = None,
    mask: Annotated[float | None, typer.Option(min=0, max=0.9, help="Share of pieces hidden in training.")] = None,
    epochs: options.Epochs = None,
    batch: Batch = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    schedule: options.Schedule = None,
    warmup_epochs: options.Warmup = None,
    weight_decay: options.Decay = None,
    label_smoothing: Annotated[float | None, typer.Option(min=0, max=0.9, help="Share of smoothing.")] = None,
    class_weight: Annotated[str | None, typer.Option(help="none or balanced.")] = None,
    ema: options.Ema = None,
    patience: Patience = None,
    val_fraction: ValFraction = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share held out for evaluate.")] = None,
    seed: Seed = None,
    split_seed: SplitSeed = None,
    resume: Resume = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Train a classifier of text, such as the intents of spoken orders."""
    given = dict(locals())
    values: dict[str, Any] = {k: v for k, v in given.items() if v is not None and k not in _CONTROL}
    from edgepress_train.config_text import TextConfig

    config = TextConfig(**values)
    with output.progress() as progress:
        from edgepress_train.train_text import train as work

        run = work(config, command=["edgepress", *sys.argv[1:]], resume=resume, force=force, progress=progress)
    output.emit(run, as_json=json, show=train.show)


def pretrain_text(
    data: Annotated[str, typer.Option(help="Plain text: a .txt file, or a folder of .txt and .md files.")],
    out: options.Out,
    arch: Arch = None,
    length: Length = None,
    pieces: Pieces = None,
    case: Case = None,
    accents: Accents = None,
    mask: Annotated[float | None, typer.Option(min=0.01, max=0.9, help="Share of pieces to be predicted.")] = None,
    epochs: options.Epochs = None,
    batch: Batch = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    schedule: options.Schedule = None,
    warmup_epochs: options.Warmup = None,
    weight_decay: options.Decay = None,
    ema: options.Ema = None,
    patience: Patience = None,
    val_fraction: ValFraction = None,
    seed: Seed = None,
    split_seed: SplitSeed = None,
    resume: Resume = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Learn an encoder from plain text, without labels, by predicting hidden pieces."""
    given = dict(locals())
    values: dict[str, Any] = {k: v for k, v in given.items() if v is not None and k not in _CONTROL}
    from edgepress_train.config_text import PretrainTextConfig

    config = PretrainTextConfig(**values)
    with output.progress() as progress:
        from edgepress_train.pretrain.text import train as work

        run = work(config, command=["edgepress", *sys.argv[1:]], resume=resume, force=force, progress=progress)
    output.emit(run, as_json=json, show=_show)


def _show(console: Console, run: Run) -> None:
    val, counts = run.metrics["val"], run.data["counts"]
    rows: list[tuple[str, object]] = [("run", run.path)]
    rows += [("text", f"{counts['lines']:,} lines, {counts['pieces']:,} pieces")]
    rows += [(name, run.metrics[name]) for name in ("params", "epochs", "train_seconds")]
    if val:
        rows.append(("hidden pieces", f"{output.percent(val['accuracy'])} told right, loss {val['loss']:.3f} nats"))
    output.facts(console, rows)
    console.print(f"next: edgepress train text --data DATA --init {run.path} --out RUN", markup=False)
