"""`edgepress`: the commands, and the way in."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from edgepress_convert.cli import (
    bench,
    boundary,
    compress,
    convert,
    demo,
    doctor,
    evaluate,
    flash,
    inspect,
    keys,
    pretrain,
    report,
    search,
    text,
    train,
    voices,
)

app = typer.Typer(
    name="edgepress",
    help="From images, recordings or words to a small, verified model on a board.\n\n"
    "--debug, anywhere on the line, shows the traceback of an error.",
    epilog="for example: edgepress train image --data pictures --out run && edgepress convert run --out cats.edge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
training = typer.Typer(no_args_is_help=True, help="Train a model and leave a RUN folder.", epilog=train.IMAGE_EXAMPLE)
app.add_typer(training, name="train")
training.command("image", epilog=train.IMAGE_EXAMPLE)(train.image)
training.command("speech", epilog=train.SPEECH_EXAMPLE)(train.speech)
training.command("text", epilog=text.TRAIN_EXAMPLE)(text.train_text)
learning = typer.Typer(
    no_args_is_help=True, help="Learn an encoder without labels and leave a RUN folder.", epilog=pretrain.IMAGE_EXAMPLE
)
app.add_typer(learning, name="pretrain")
learning.command("image", epilog=pretrain.IMAGE_EXAMPLE)(pretrain.image)
learning.command("speech", epilog=pretrain.SPEECH_EXAMPLE)(pretrain.speech)
learning.command("text", epilog=text.PRETRAIN_EXAMPLE)(text.pretrain_text)
speakers = typer.Typer(no_args_is_help=True, help="Who can speak here, for training from words.")
app.add_typer(speakers, name="voices", epilog=voices.LIST_EXAMPLE)
speakers.command("list", epilog=voices.LIST_EXAMPLE)(voices.list_voices)
speakers.command("add", epilog=voices.ADD_EXAMPLE)(voices.add_voices)
app.command("compress", epilog=compress.EXAMPLE)(compress.compress)
app.command("search", epilog=search.EXAMPLE)(search.search)
app.command("convert", epilog=convert.EXAMPLE)(convert.convert)
app.command("evaluate", epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command("inspect", epilog=inspect.EXAMPLE)(inspect.inspect)
app.command("flash", epilog=flash.EXAMPLE)(flash.flash)
signers = typer.Typer(no_args_is_help=True, help="Keys that sign bundles for boards that check.")
app.add_typer(signers, name="keys", epilog=keys.NEW_EXAMPLE)
signers.command("new", epilog=keys.NEW_EXAMPLE)(keys.new)
signers.command("list", epilog=keys.LIST_EXAMPLE)(keys.list_keys)
signers.command("sign", epilog=keys.SIGN_EXAMPLE)(keys.sign)
app.command("bench", epilog=bench.EXAMPLE)(bench.bench)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)
app.command("report", epilog=report.EXAMPLE)(report.report)
app.command("demo", epilog=demo.EXAMPLE)(demo.demo)


def _version(asked: bool) -> None:
    if asked:
        from importlib import metadata

        try:
            print(f"edgepress {metadata.version('edgepress')}")
        except metadata.PackageNotFoundError:
            print("edgepress (not installed, run from its sources)")
        raise typer.Exit


@app.callback()
def edgepress(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """From images, recordings or words to a small, verified model on a board."""


def main() -> None:
    """Run the command line of this process."""
    command = typer.main.get_command(app)
    sys.exit(boundary.guarded(lambda words: command.main(words, "edgepress", standalone_mode=False), sys.argv[1:]))


if __name__ == "__main__":
    main()
