"""The options of `edgepress-device`, and those that the apps share with it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Callable

from edgepress_runtime import teach_cli

Command = Callable[[argparse.Namespace], int]
TARGET = "name of an installed model, or an X.edge file; may be left out when one model is installed"
_WITHOUT_ENGINE = ("list", "taught", "forget", "trust", "doctor")
_MOST = 2**31 - 1
_MOST_THREADS = 256  # as `engine.MAX_THREADS`, which `--help` does not load


def parser(commands: Mapping[str, Command], examples: Mapping[str, str], version: str) -> argparse.ArgumentParser:
    """The parser of all `commands`; the parsed namespace holds the function to call as `command`."""
    top = argparse.ArgumentParser(
        prog="edgepress-device",
        description="Install, check, run and measure edgepress models on this board.",
        epilog="for example:\n" + "\n".join(f"  {text}" for text in examples.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"edgepress-runtime {version}")
    group = top.add_subparsers(metavar="COMMAND", required=True, dest="name_of_command")
    made = {}
    for name, command in commands.items():
        summary = (command.__doc__ or "").strip()
        made[name] = group.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"for example: {examples[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made[name].set_defaults(command=command, usage=made[name].error)
        add_store_and_output(made[name])
        if name not in _WITHOUT_ENGINE:
            _engine(made[name])
    made["install"].add_argument("bundle", metavar="X.edge", help="the bundle to install")
    made["install"].add_argument(
        "--keep", type=positive, default=2, metavar="N", help="releases to keep on the board (default: 2)"
    )
    made["rollback"].add_argument("name", metavar="NAME", nargs="?", help="the installed model to roll back")
    for name in ("selftest", "bench"):
        extra = "; all installed models if left out" if name == "selftest" else ""
        made[name].add_argument("target", metavar="NAME|X.edge", nargs="?", help=TARGET.split(";")[0] + extra)
    made["trust"].add_argument("action", choices=("list", "add", "remove"), nargs="?", default="list")
    made["trust"].add_argument("key", metavar="KEY", nargs="?", help="a .pub file to add, or the name of one to remove")
    made["trust"].add_argument("--name", default="", metavar="NAME", help="what to call it (default: the file's name)")
    made["trial"].add_argument("action", choices=("start", "confirm"))
    made["trial"].add_argument("target", metavar="NAME", nargs="?", help="the installed model")
    made["run"].add_argument(
        "items",
        metavar="[NAME|X.edge] FILE|TEXT",
        nargs="+",
        help=f"{TARGET}; then pictures, recordings, folders or texts (none, or -: the lines of stdin)",
    )
    made["run"].add_argument(
        "--top", type=positive, default=5, metavar="K", help="answers a picture or text in --json (default: 5)"
    )
    teach_cli.add_arguments(made, TARGET)
    _bench(made["bench"])
    return top


def parse(made: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; files may follow an option, as in `teach cats --name lynx lynx/*.jpg`.

    argparse gives what follows to nobody when it has already seen one of the files before the option.
    """
    args, rest = made.parse_known_args(argv)
    unknown = [word for word in rest if not hasattr(args, "items") or (word.startswith("-") and word != "-")]
    if unknown:
        args.usage(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        args.items += rest
    return args


def add_store_and_output(command: argparse.ArgumentParser, *, json: str = "one JSON object on stdout") -> None:
    """The options that every command on a board has: `--root`, `--json`, `--debug`."""
    command.add_argument(
        "--root", metavar="DIR", help="the model store (default: $EDGEPRESS_ROOT, else /var/lib/edgepress)"
    )
    command.add_argument("--json", action="store_true", help=json)
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def add_threads(command: argparse.ArgumentParser) -> None:
    """`--threads`."""
    command.add_argument(
        "--threads",
        type=_threads,
        metavar="N",
        help="threads of the engine (default: 1 for sound and text; for pictures the cores, at most 4)",
    )


def positive(text: str) -> int:
    """A whole number above 0, from the command line."""
    return _whole(text, _MOST)


def _bench(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--runs", type=positive, metavar="N", help="calls to time (default: 300, and on until a second is over)"
    )
    command.add_argument(
        "--seconds", type=_seconds, metavar="T", help="time calls for T seconds (and at least N calls)"
    )
    command.add_argument(
        "--threads-sweep",
        type=_counts,
        default=(),
        metavar="1,2,4",
        help="then measure these counts of threads in turn",
    )
    command.add_argument("--against", metavar="NAME|X.edge", help="then run this one in turn with it, and compare")
    command.add_argument(
        "--power",
        default="auto",
        metavar="SOURCE",
        help="the power meter: hwmon, pmic, rapl, a part of a sensor's name such as ina226, or none (default: auto)",
    )
    command.add_argument("--power-csv", metavar="FILE", help="the log that an external power meter is writing")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0, up to 86400")
    return value


def _counts(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_threads(part) for part in text.split(",")))


def _threads(text: str) -> int:
    return _whole(text, _MOST_THREADS)


def _whole(text: str, most: int) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most}")
    return value


def _engine(command: argparse.ArgumentParser) -> None:
    add_threads(command)
    command.add_argument(
        "--delegate",
        action="append",
        default=[],
        metavar="NAME",
        help="'edgetpu', or an external delegate as PATH.so[:key=value,...]; may be repeated",
    )
    command.add_argument("--no-xnnpack", action="store_true", help="run without the fast XNNPACK kernels")
