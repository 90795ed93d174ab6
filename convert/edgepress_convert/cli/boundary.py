"""The runtime's boundary around a command line that Typer parses.

`--debug`, anywhere on the line, shows the traceback of a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import typer

from edgepress_runtime import boundary


def guarded(run: Callable[[list[str]], object], arguments: Sequence[str]) -> int:
    """Call `run` with `arguments` (without `--debug`) and give the exit code: 0, 1, 2 wrong usage, 130 interrupted."""

    def command() -> int:
        try:
            code = run([word for word in arguments if word != "--debug"])
        except typer.Abort:
            raise KeyboardInterrupt from None
        except Exception as error:
            usage = _usage(error)
            if usage is None:
                raise
            return usage
        if code == 130:  # the parser has caught the interrupt itself
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0

    return boundary.guarded(command, debug="--debug" in arguments)


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
    boundary.say(" ".join(tell().split()), f"{path} --help")
    return 2
