"""`edgepress train`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgepress_convert.cli import options, output
from edgepress_convert.cli.options import Force, Json

if TYPE_CHECKING:
    from rich.console import Console

    from edgepress_train.run import Run

IMAGE_EXAMPLE = "for example: edgepress train image --data pv-cells --arch resnet8 --size 96 --grey --out runs/cells"

SPEECH_EXAMPLE = (
    'for example: edgepress train speech --words "alexa" --out runs/alexa, or --data recordings for one\'s own'
)

Tune = Annotated[str | None, typer.Option(help="Which weights learn: full, head, bias, lora:RANK or adapter:DIM.")]
Fraction = Annotated[float | None, typer.Option(help="Share of each class's training examples that is used.")]
PerClass = Annotated[int | None, typer.Option(min=0, help="At most so many of each class are used, 0: all.")]


def image(
    data: Annotated[str, typer.Option(help="Folder or zip of class_name/*.jpg, or a name such as pv-cells.")],
    out: options.Out,
    recipe: Annotated[str | None, typer.Option(help="Named settings to start from; other flags win.")] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture, as resnet8 or mobilenet-v2:width=0.35.")] = None,
    init: Annotated[str | None, typer.Option(help="Weights to start from: a RUN folder or a checkpoint.")] = None,
    size: Annotated[str | None, typer.Option(help="Input size in pixels: 96, or 96x128 (height x width).")] = None,
    grey: Annotated[bool, typer.Option("--grey", help="One grey channel instead of three colours.")] = False,
    fit: Annotated[str | None, typer.Option(help="stretch, crop or pad pictures to the size.")] = None,
    normalize: Annotated[
        str | None, typer.Option(help="data (mean and deviation of the pictures), unit or raw.")
    ] = None,
    epochs: options.Epochs = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Pictures a step.")] = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    schedule: options.Schedule = None,
    warmup_epochs: options.Warmup = None,
    weight_decay: options.Decay = None,
    augment: Annotated[str | None, typer.Option(help="Augmentation, as 'flip-h, shift:0.1', or none.")] = None,
    label_smoothing: Annotated[float | None, typer.Option(min=0, max=0.9, help="Share of smoothing.")] = None,
    class_weight: Annotated[str | None, typer.Option(help="none or balanced.")] = None,
    ema: options.Ema = None,
    patience: Annotated[int | None, typer.Option(min=0, help="Epochs without gain before stopping, 0: never.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="RUN, Keras file or bundle to learn from too; several with commas.")
    ] = None,
    distil_weight: Annotated[float | None, typer.Option(min=0, max=1, help="The teacher's share of the loss.")] = None,
    distil_temperature: Annotated[float | None, typer.Option(help="How much its answers are softened.")] = None,
    distil_features: Annotated[float | None, typer.Option(min=0, help="Weight of likeness in feature maps.")] = None,
    tune: Tune = None,
    label_fraction: Fraction = None,
    labels_per_class: PerClass = None,
    val_fraction: Annotated[float | None, typer.Option(help="Share split off for validation.")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share held out for evaluate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and augmentation.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Of the split into parts.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Train an image classifier."""
    given = dict(locals())
    control = ("recipe", "grey", "resume", "force", "json")
    values: dict[str, Any] = {k: v for k, v in given.items() if v is not None and k not in control}
    if size is not None:
        values["size"] = options.size(size)
    if grey:
        values["channels"] = 1
    from edgepress_train.config import TrainConfig, from_recipe

    config = TrainConfig(**values) if recipe is None else from_recipe(recipe, **values)
    with output.progress() as progress:
        from edgepress_train.train_image import train

        run = train(config, command=["edgepress", *sys.argv[1:]], resume=resume, force=force, progress=progress)
    output.emit(run, as_json=json, show=show)


def speech(
    out: options.Out,
    data: Annotated[str | None, typer.Option(help="Folder or zip of word/*.wav, or speech-commands.")] = None,
    words: Annotated[str | None, typer.Option(help="Keywords to be synthesized, with commas between.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Named settings to start from; other flags win.")] = None,
    arch: Annotated[str | None, typer.Option(help="ds-tcn, ds-cnn or bc-resnet, as bc-resnet:scale=1.5.")] = None,
    init: Annotated[str | None, typer.Option(help="Weights to start from: a RUN folder or a checkpoint.")] = None,
    front_end: Annotated[str | None, typer.Option(help="log-mel, pcen, mfcc or micro.")] = None,
    rate_hz: Annotated[int | None, typer.Option(help="Samples a second that the net hears.")] = None,
    frame_ms: Annotated[float | None, typer.Option(help="Length of one frame.")] = None,
    hop_ms: Annotated[float | None, typer.Option(help="From one frame to the next.")] = None,
    bands: Annotated[int | None, typer.Option(min=1, help="Mel bands.")] = None,
    low_hz: Annotated[float | None, typer.Option(help="Lower edge of the lowest band.")] = None,
    high_hz: Annotated[float | None, typer.Option(help="Upper edge of the highest band.")] = None,
    coefficients: Annotated[int | None, typer.Option(min=1, help="MFCCs kept.")] = None,
    normalize: Annotated[str | None, typer.Option(help="data (mean and deviation), raw or log10.")] = None,
    window_s: Annotated[float | None, typer.Option(help="Seconds that the net sees at once.")] = None,
    clips: Annotated[int | None, typer.Option(min=1, help="Clips to synthesize of each word.")] = None,
    voices: Annotated[str | None, typer.Option(help="Engines that may speak, with commas (default: all here).")] = None,
    copies: Annotated[int | None, typer.Option(min=1, help="Changed copies of each clip.")] = None,
    background: Annotated[str | None, typer.Option(help="Folders of sound without the words, with commas.")] = None,
    noise: Annotated[str | None, typer.Option(help="Folders of noise to mix in, with commas.")] = None,
    sound: Annotated[str | None, typer.Option(help="What is done to the sound of each copy, or none.")] = None,
    augment: Annotated[str | None, typer.Option(help="What is done to features in every epoch, or none.")] = None,
    speaker: Annotated[str | None, typer.Option(help="Pattern that finds the speaker in a file's name.")] = None,
    epochs: options.Epochs = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Windows a step.")] = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    schedule: options.Schedule = None,
    warmup_epochs: options.Warmup = None,
    weight_decay: options.Decay = None,
    label_smoothing: Annotated[float | None, typer.Option(min=0, max=0.9, help="Share of smoothing.")] = None,
    class_weight: Annotated[str | None, typer.Option(help="none or balanced.")] = None,
    hardest: Annotated[float | None, typer.Option(help="Share of unknown that counts, most like a word.")] = None,
    ema: options.Ema = None,
    patience: Annotated[int | None, typer.Option(min=0, help="Epochs without gain before stopping, 0: never.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="RUN, Keras file or bundle to learn from too; several with commas.")
    ] = None,
    distil_weight: Annotated[float | None, typer.Option(min=0, max=1, help="The teacher's share of the loss.")] = None,
    distil_temperature: Annotated[float | None, typer.Option(help="How much its answers are softened.")] = None,
    distil_features: Annotated[float | None, typer.Option(min=0, help="Weight of likeness in feature maps.")] = None,
    tune: Tune = None,
    label_fraction: Fraction = None,
    labels_per_class: PerClass = None,
    val_fraction: Annotated[float | None, typer.Option(help="Share split off for validation.")] = None,
    test_fraction: Annotated[float | None, typer.Option(help="Share held out for evaluate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order, voices and augmentation.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Of the split into parts.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an unfinished training.")] = False,
    force: Force = False,
    json: Json = False,
) -> None:
    """Train a keyword spotter, from recordings or from nothing but words."""
    given = dict(locals())
    control = ("recipe", "resume", "force", "json")
    values: dict[str, Any] = {k: v for k, v in given.items() if v is not None and k not in control}
    from edgepress_train.config import SpeechConfig, speech_from_recipe

    config = SpeechConfig(**values) if recipe is None else speech_from_recipe(recipe, **values)
    with output.progress() as progress:
        from edgepress_train.train_speech import train

        run = train(config, command=["edgepress", *sys.argv[1:]], resume=resume, force=force, progress=progress)
    output.emit(run, as_json=json, show=show)


_NOUNS = {"image-classification": "pictures", "keyword-spotting": "windows", "text-classification": "texts"}


def show(console: Console, run: Run) -> None:
    """What a training came to, for people."""
    val = run.metrics.get("val") or {}
    rows: list[tuple[str, object]] = [("run", run.path), ("labels", len(run.labels))]
    told = ("params", "trained_params", "epochs", "train_seconds")
    rows += [(name, run.metrics[name]) for name in told if name in run.metrics]
    rows += [("left out", reason) for reason in run.metrics.get("left_out", ())]
    if val:
        what = _NOUNS.get(run.task, "examples")
        rows += [("validation", f"{output.percent(val['top1'])} of {val['n']} {what} right")]
    output.facts(console, rows)
    console.print(f"next: edgepress convert {run.path} --out {run.path.name}.edge", markup=False)
