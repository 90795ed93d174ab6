"""`edgepress bench X.edge` on this machine: the runtime's own measurement, in a fresh process.

A fresh one, so that peak memory and load time are those of the board's code alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgepress_runtime.errors import EdgepressError


def bench(path: str | Path, *, runs: int = 300, threads: int | None = None, xnnpack: bool = True) -> dict[str, Any]:
    """The keys of `bench --json`. Progress goes to stderr. Raises EdgepressError with the child's own sentence."""
    command = [sys.executable, "-m", "edgepress_runtime", "bench", os.fspath(Path(path).absolute()), "--json"]
    command += ["--runs", str(runs)]
    command += [] if threads is None else ["--threads", str(threads)]
    command += [] if xnnpack else ["--no-xnnpack"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    told: dict[str, str] = {}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stderr is not None and child.stdout is not None
        try:
            for line in child.stderr:
                kind, colon, text = line.rstrip("\n").partition(": ")
                if colon and kind in ("error", "tip"):
                    told[kind] = text
                else:
                    sys.stderr.write(line)
                    sys.stderr.flush()
            output = child.stdout.read()
        except BaseException:
            child.kill()  # whoever is interrupted must not leave a measurement running
            raise
    if child.returncode:
        raise EdgepressError(
            told.get("error", f"the measurement ended with exit code {child.returncode}"), told.get("tip", "")
        )
    result: dict[str, Any] = json.loads(output)
    return result
