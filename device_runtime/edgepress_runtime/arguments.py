"""The options of `edgepress-device`, and those that the apps share with it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Callable

Command = Callable[[argparse.Namespace], int]
TARGET = "name of an installed model, or an X.edge file; may be left out when one model is installed"
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
        if name != "list":
            _engine(made[name])
    made["install"].add_argument("bundle", metavar="X.edge", help="the bundle to install")
    made["install"].add_argument(
        "--keep", type=positive, default=2, metavar="N", help="releases to keep on the board (default: 2)"
    )
    made["rollback"].add_argument("name", metavar="NAME", nargs="?", help="the installed model to roll back")
    for name in ("selftest", "bench"):
        extra = "; all installed models if left out" if name == "selftest" else ""
        made[name].add_argument("target", metavar="NAME|X.edge", nargs="?", help=TARGET.split(";")[0] + extra)
    made["run"].add_argument(
        "items", metavar="[NAME|X.edge] FILE", nargs="+", help=f"{TARGET}; then pictures, recordings or folders"
    )
    made["run"].add_argument(
        "--top", type=positive, default=5, metavar="K", help="answers a picture in --json (default: 5)"
    )
    made["bench"].add_argument("--runs", type=positive, default=300, metavar="N", help="calls to time (default: 300)")
    return top


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
        help="threads of the engine (default: 1 for sound; for pictures the cores, at most 4)",
    )


def positive(text: str) -> int:
    """A whole number above 0, from the command line."""
    return _whole(text, _MOST)


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
