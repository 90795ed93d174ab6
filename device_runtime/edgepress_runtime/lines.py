"""Text that leaves a command: whatever a name holds, a line stays one line and JSON stays JSON."""

from __future__ import annotations

import json
import sys
from typing import Any, Callable


def one_line(text: str) -> str:
    """`text` with line breaks, terminal codes and bytes that are no text as escapes, such as `\\n` and `\\udcff`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def json_line(value: object, default: Callable[[Any], Any] | None = None) -> str:
    """`value` as JSON on one line; in ASCII where stdout cannot take the text itself, so that nothing is lost."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=default)
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, default=default)
    return text


def complain(text: str) -> None:
    """Print one line on stderr; a stderr that is closed or gone takes nothing, and nobody is left to be told."""
    try:
        print(one_line(text), file=sys.stderr, flush=True)  # noqa: T201  where commands speak
    except (OSError, ValueError):
        pass
