"""This machine as a board: the real `edgepress-device` in a process of its own.

Of its own, so that what is tried and measured is the board's code alone, with nothing of the host in its memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.lines import complain


def device(command: str, *words: str | Path, root: Path | None = None) -> dict[str, Any]:
    """What `edgepress-device COMMAND WORDS... --root ROOT --json` printed; what it says on the way goes to stderr.

    Raises EdgepressError, in its words.
    """
    line = [sys.executable, "-m", "edgepress_runtime", command, *(os.fspath(word) for word in words), "--json"]
    line += [] if root is None else ["--root", os.fspath(root)]
    # No module is looked for in the folder where the user happens to be.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PYTHONSAFEPATH": "1"}
    told: dict[str, str] = {}
    # The answer goes to a file: a pipe holds 64 kB, and a child that waits for it to be read never closes its stderr.
    with tempfile.TemporaryFile() as answer, subprocess.Popen(
        line, env=environment, stdin=subprocess.DEVNULL, stdout=answer, stderr=subprocess.PIPE,
        encoding="utf-8", errors="replace",
    ) as child:  # fmt: skip
        assert child.stderr is not None
        try:
            for heard in child.stderr:
                kind, colon, text = heard.rstrip("\n").partition(": ")
                if colon and kind in ("error", "tip"):
                    told[kind] = text
                else:
                    complain(heard.rstrip("\n"))
            child.wait()
        except BaseException:
            child.kill()  # whoever is interrupted must not leave a measurement running
            raise
        answer.seek(0)
        output = answer.read()
    if child.returncode:
        ended = f"edgepress-device {command} ended with exit code {child.returncode}"
        raise EdgepressError(told.get("error", ended), told.get("tip", ""))
    result: dict[str, Any] = json.loads(output)
    return result
