"""`edgepress pretrain`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepress_convert.cli import options, output
from edgepress_convert.cli.options import Force, Json

if TYPE_CHECKING:
    from rich.console import Console

    from edgepress_train.run import Run

IMAGE_EXAMPLE = (
    "for example: edgepress pretrain image --data photos --arch resnet8 --size 96 --out runs/seen && "
    "edgepress train image --data labelled --init runs/seen --out runs/mine"
)
SPEECH_EXAMPLE = (
    "for example: edgepress pretrain speech --data recordings --arch ds-tcn --out runs/heard && "
    "edgepress train speech --data labelled --init runs/heard --out runs/mine"
)

Arch = Annotated[str | None, typer.Option(help="The net whose encoder is wanted, as in edgepress train.")]
Method = Annotated[str | None, typer.Option(help="simclr, barlow-twins, vicreg or masked, as simclr:temperature=0.2.")]
Init = Annotated[str | None, typer.Option(help="Weights to start from: a RUN folder or a checkpoint.")]
Augment = Annotated[str | None, typer.Option(help="How views of one example differ, or none.")]
Projector = Annotated[str | None, typer.Option(help="Widths of the layers that only pretraining has, as 256-128.")]
Batch = Annotated[int | None, typer.Option(min=2, help="Examples a step.")]
Patience = Annotated[int | None, typer.Option(min=0, help="Epochs without a better probe before stopping, 0: never.")]
Val = Annotated[float | None, typer.Option(help="Share split off, as in the training that follows.")]
Test = Annotated[float | None, typer.Option(help="Share held out, as in the training that follows.")]
Seed = Annotated[int | None, typer.Option(help="Of weights, order and augmentation.")]
SplitSeed = Annotated[int | None, typer.Option(help="Of the split into parts, as in the training that follows.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an unfinished pretraining.")]


def image(
    data: Annotated[str, typer.Option(help="Folder or zip of pictures, in class folders or not, or a name.")],
    out: options.Out,
    arch: Arch = None,
    method: Method = None,
    teacher: Annotated[
        str | None, typer.Option(help="Learn the embeddings of this RUN, or of efficientnet-lite0, instead.")
    ] = None,
    init: Init = None,
    size: Annotated[str | None, typer.Option(help="Input size in pixels: 96, or 96x128 (height x width).")] = None,
    grey: Annotated[bool, typer.Option("--grey", help="One grey channel instead of three colours.")] = False,
    fit: Annotated[str | None, typer.Option(help="stretch, crop or pad pictures to the size.")] = None,
    normalize: Annotated[str | None, typer.Option(help="data (mean and deviation), unit or raw.")] = None,
    augment: Augment = None,
    projector: Projector = None,
    epochs: options.Epochs = None,
    batch: Batch = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    schedule: options.Schedule = None,
    warmup_epochs: options.Warmup = None,
    weight_decay: options.Decay = None,
    ema: options.Ema = None,
    patience: Patience = None,
    val_fraction: Val = None,
    test_fraction: Test = None,
    seed: Seed = None,
    split_seed: SplitSeed = None,
    resume: Resume = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Learn an image encoder from pictures without labels."""
    values = _given(locals(), "grey", "resume", "force", "json")
    if size is not None:
        values["size"] = options.size(size)
    if grey:
        values["channels"] = 1
    from edgepress_train.pretrain.config import PretrainConfig

    config = PretrainConfig(**values)
    with output.progress() as progress:
        from edgepress_train.pretrain.image import pretrain

        run = pretrain(config, command=["edgepress", *sys.argv[1:]], resume=resume, force=force, progress=progress)
    output.emit(run, as_json=json, show=_show)


def speech(
    data: Annotated[str, typer.Option(help="Folders or zips of recordings, with commas, in word folders or not.")],
    out: options.Out,
    arch: Arch = None,
    method: Method = None,
    teacher: Annotated[str | None, typer.Option(help="Learn the embeddings of this RUN instead.")] = None,
    init: Init = None,
    front_end: Annotated[str | None, typer.Option(help="log-mel, pcen, mfcc or micro.")] = None,
    rate_hz: Annotated[int | None, typer.Option(help="Samples a second that the net hears.")] = None,
    frame_ms: Annotated[float | None, typer.Option(help="Length of one frame.")] = None,
    hop_ms: Annotated[float | None, typer.Option(help="From one frame to the next.")] = None,
    bands: Annotated[int | None, typer.Option(min=1, help="Mel bands.")] = None,
    low_hz: Annotated[float | None, typer.Option(help="Lower edge of the lowest band.")] = None,
    high_hz: Annotated[float | None, typer.Option(help="Upper edge of the highest band.")] = None,
    coefficients: Annotated[int | None, typer.Option(min=1, help="MFCCs kept.")] = None,
    normalize: Annotated[str | None, typer.Option(help="data (mean and deviation), raw or log10.")] = None,
    window_s: Annotated[float | None, typer.Option(help="Seconds at once; may be longer than in training.")] = None,
    copies: Annotated[int | None, typer.Option(min=1, help="Changed copies of each clip.")] = None,
    noise: Annotated[str | None, typer.Option(help="Folders of noise to mix in, with commas.")] = None,
    sound: Annotated[str | None, typer.Option(help="What is done to the sound of each copy, or none.")] = None,
    augment: Augment = None,
    projector: Projector = None,
    speaker: Annotated[str | None, typer.Option(help="Pattern that finds the speaker in a file's name.")] = None,
    epochs: options.Epochs = None,
    batch: Batch = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    schedule: options.Schedule = None,
    warmup_epochs: options.Warmup = None,
    weight_decay: options.Decay = None,
    ema: options.Ema = None,
    patience: Patience = None,
    val_fraction: Val = None,
    test_fraction: Test = None,
    seed: Seed = None,
    split_seed: SplitSeed = None,
    resume: Resume = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Learn a speech encoder from recordings without labels."""
    values = _given(locals(), "resume", "force", "json")
    from edgepress_train.pretrain.config import SpeechPretrainConfig

    config = SpeechPretrainConfig(**values)
    with output.progress() as progress:
        from edgepress_train.pretrain.speech import pretrain

        run = pretrain(config, command=["edgepress", *sys.argv[1:]], resume=resume, force=force, progress=progress)
    output.emit(run, as_json=json, show=_show)


def _given(flags: dict[str, Any], *control: str) -> dict[str, Any]:
    """The fields of a configuration that were given: what is not there keeps its default."""
    values = {name: value for name, value in flags.items() if value is not None and name not in control}
    if "projector" in values:
        words = values["projector"].split("-")
        if not all(word.isdigit() and int(word) for word in words):
            raise typer.BadParameter(
                f"{values['projector']!r} is no list of widths such as 256-128", param_hint="'--projector'"
            )
        values["projector"] = tuple(int(word) for word in words)
    return values


def _show(console: Console, run: Run) -> None:
    rows: list[tuple[str, object]] = [("run", run.path)]
    rows += [(name, run.metrics[name]) for name in ("params", "embedding", "epochs", "train_seconds")]
    if run.metrics["probe"] is not None:
        rows += [("probe", f"{output.percent(run.metrics['probe'])} right by its nearest neighbours")]
    output.facts(console, rows)
    kind = run.task.partition("-")[0]
    console.print(f"next: edgepress train {kind} --init {run.path} --data DIR --out RUN", markup=False)
