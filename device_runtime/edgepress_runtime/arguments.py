"""The options of `edgepress-device`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Callable

Command = Callable[[argparse.Namespace], int]
_TARGET = "name of an installed model, or an X.edge file; may be left out when one model is installed"


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
        _common(made[name])
        if name != "list":
            _engine(made[name])
    made["install"].add_argument("bundle", metavar="X.edge", help="the bundle to install")
    made["install"].add_argument(
        "--keep", type=_positive, default=2, metavar="N", help="releases to keep on the board (default: 2)"
    )
    made["rollback"].add_argument("name", metavar="NAME", nargs="?", help="the installed model to roll back")
    for name in ("selftest", "bench"):
        extra = "; all installed models if left out" if name == "selftest" else ""
        made[name].add_argument("target", metavar="NAME|X.edge", nargs="?", help=_TARGET.split(";")[0] + extra)
    made["run"].add_argument(
        "items", metavar="[NAME|X.edge] FILE", nargs="+", help=f"{_TARGET}; then pictures or folders"
    )
    made["run"].add_argument(
        "--top", type=_positive, default=5, metavar="K", help="answers a picture in --json (default: 5)"
    )
    made["bench"].add_argument("--runs", type=_positive, default=300, metavar="N", help="calls to time (default: 300)")
    return top


def _common(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--root", metavar="DIR", help="the model store (default: $EDGEPRESS_ROOT, else /var/lib/edgepress)"
    )
    command.add_argument("--json", action="store_true", help="one JSON object on stdout")
    command.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--threads", type=_positive, metavar="N", help="threads of the engine (default: cores, at most 4)"
    )
    command.add_argument(
        "--delegate",
        action="append",
        default=[],
        metavar="NAME",
        help="'edgetpu', or an external delegate as PATH.so[:key=value,...]; may be repeated",
    )
    command.add_argument("--no-xnnpack", action="store_true", help="run without the fast XNNPACK kernels")


def _positive(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return value
