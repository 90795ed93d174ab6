"""`edgepress bench X.edge` on this machine: the board's own measurement.

In a fresh process, so that peak memory and load time are those of the board's code alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepress_convert.local_board import device
from edgepress_runtime.bundle import is_bundle
from edgepress_runtime.errors import EdgepressError


def bench(path: str | Path, *, runs: int = 300, threads: int | None = None, xnnpack: bool = True) -> dict[str, Any]:
    """The keys of `bench --json`. Progress goes to stderr. Raises EdgepressError with the child's own sentence."""
    path = Path(path)
    if not is_bundle(path):
        what = f"{path} is not an X.edge bundle" if path.exists() else f"{path} does not exist"
        raise EdgepressError(what, "make a bundle with: edgepress convert RUN --out X.edge")
    words = ["--runs", str(runs)]
    words += [] if threads is None else ["--threads", str(threads)]
    words += [] if xnnpack else ["--no-xnnpack"]
    return device("bench", path.absolute(), *words)
