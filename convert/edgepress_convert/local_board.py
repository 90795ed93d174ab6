"""A board root on this machine, served by the real `edgepress-device` in a process of its own.

Of its own, so that what is tried and measured is the board's code alone, with nothing of the host in its memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgepress_runtime.errors import EdgepressError


def device(command: str, *words: str | Path, root: Path) -> dict[str, Any]:
    """What `edgepress-device COMMAND WORDS... --root ROOT --json` printed. Raises EdgepressError, in its words."""
    line = [sys.executable, "-m", "edgepress_runtime", command, *map(str, words), "--root", str(root), "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(line, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        told = dict(text.split(": ", 1) for text in done.stderr.splitlines() if text.startswith(("error: ", "tip: ")))
        ended = f"edgepress-device {command} ended with exit code {done.returncode}"
        raise EdgepressError(told.get("error", ended), told.get("tip", ""))
    result: dict[str, Any] = json.loads(done.stdout)
    return result
