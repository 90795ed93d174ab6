"""`edgepress bench X.edge`: the board's own measurement, on this machine or on a board.

Here in a fresh process, so that peak memory and load time are those of the board's code alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepress_convert import board
from edgepress_convert.local_board import device
from edgepress_runtime.bundle import is_bundle
from edgepress_runtime.errors import EdgepressError


def bench(
    path: str | Path,
    *,
    runs: int | None = 300,
    seconds: float | None = None,
    threads: int | None = None,
    xnnpack: bool = True,
    host: str | None = None,
) -> dict[str, Any]:
    """The keys of `bench --json`, measured on `host` or here. Progress goes to stderr.

    None for `runs` and `seconds` leaves them to the board. Raises EdgepressError in the board's words, or in SSH's.
    """
    path = Path(path)
    if not is_bundle(path):
        what = f"{path} is not an X.edge bundle" if path.exists() else f"{path} does not exist"
        raise EdgepressError(what, "make a bundle with: edgepress convert RUN --out X.edge")
    words = [] if runs is None else ["--runs", str(runs)]
    words += [] if seconds is None else ["--seconds", str(seconds)]
    words += [] if threads is None else ["--threads", str(threads)]
    words += [] if xnnpack else ["--no-xnnpack"]
    if host is None:
        return device("bench", path.absolute(), *words)
    remote = board.send(host, path)
    try:
        return board.device(host, "bench", remote, *words)
    finally:
        board.discard(host, remote)
