"""The only place that catches: every failure becomes one sentence, a tip, and an exit code.

0 done, 1 failed, 2 wrong usage, 130 interrupted. `--debug`, anywhere on the line, shows the traceback instead.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence

import typer

from edgepress_runtime.errors import EdgepressError


def guarded(run: Callable[[list[str]], object], arguments: Sequence[str]) -> int:
    """Call `run` with `arguments` (without `--debug`) and give the exit code."""
    debug = "--debug" in arguments
    try:
        code = run([word for word in arguments if word != "--debug"])
        sys.stdout.flush()
        if code == 130:  # the parser has caught the interrupt itself
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted", "")
        return 130
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more while it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except EdgepressError as error:
        if debug:
            traceback.print_exc()
        _say(error.what, error.remedy)
        return 1
    except Exception as error:  # noqa: BLE001  (a fault of ours must not look like the user's)
        usage = _usage(error)
        if usage is not None:
            return usage
        if debug:
            traceback.print_exc()
        reason = " ".join(str(error).split())[:300]
        _say(
            f"edgepress has a bug here: {type(error).__name__}{': ' if reason else ''}{reason}",
            "run it again with --debug and report what it prints",
        )
        return 1


def _usage(error: Exception) -> int | None:
    """The exit code of a parser's complaint, told; None for anything else.

    Typer has its parser built in or beside it, by version, so its errors are known by what they can do.
    """
    tell, code = getattr(error, "format_message", None), getattr(error, "exit_code", None)
    if tell is None or not isinstance(code, int):
        return None
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # type: ignore[attr-defined]
        return 2
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "edgepress"
    _say(" ".join(tell().split()), f"{path} --help")
    return 2


def _say(what: str, remedy: str) -> None:
    print(f"error: {what}", file=sys.stderr)
    if remedy:
        print(f"tip: {remedy}", file=sys.stderr)
