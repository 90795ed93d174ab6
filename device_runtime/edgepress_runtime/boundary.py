"""The one boundary of every command: whatever goes wrong becomes one sentence, a tip, and an exit code.

0 done, 1 failed, 2 wrong usage (told by the parser itself), 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Callable

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.lines import complain


def guarded(command: Callable[[], int | None], *, debug: bool = False) -> int:
    """Run `command` and give its exit code, None being 0. With `debug` a failure shows its traceback first."""
    _complete_streams()
    try:
        try:
            code = command()
            sys.stdout.flush()
            return code or 0
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  this is the place that catches
            return _told(error, debug)
    finally:
        _settle()


def say(what: str, remedy: str = "") -> None:
    """Tell a failure on stderr: one `error:` line, and a `tip:` line if there is one."""
    complain(f"error: {what}")
    if remedy:
        complain(f"tip: {remedy}")


def _told(error: BaseException, debug: bool) -> int:
    if isinstance(error, KeyboardInterrupt):
        complain("error: interrupted")
        return 130
    if isinstance(error, BrokenPipeError):
        return 1  # whoever read our output has gone: there is nobody to tell
    if debug:
        import traceback

        traceback.print_exception(type(error), error, error.__traceback__)
    if isinstance(error, EdgepressError):
        say(error.what, error.remedy)
    elif isinstance(error, MemoryError):
        say("this machine has not enough memory for that", "close other programs, or ask for less")
    elif isinstance(error, OSError) and error.errno is not None:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        say(f"the operating system refused: {where}{error.strerror}", "mend that, and run the command again")
    else:
        reason = " ".join(str(error).split())[:300]
        say(
            f"edgepress has a bug here: {type(error).__name__}{': ' if reason else ''}{reason}",
            "run it again with --debug and report what it prints",
        )
    return 1


def _complete_streams() -> None:
    """Make sure that 0, 1 and 2 are open and ours, so that no file of a command is ever opened as one of them."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            spare = os.open(os.devnull, os.O_RDWR)
            if spare != descriptor:
                os.dup2(spare, descriptor)
                os.close(spare)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed when Python started
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115  open until the process ends
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that is no text must not end a command


def _settle() -> None:
    """Leave nothing unwritten that Python would complain about once more while it exits."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            try:
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            except (OSError, ValueError):
                pass
