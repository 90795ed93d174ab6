"""Where things that can be made again are kept: `$EDGEPRESS_CACHE`, else `~/.cache/edgepress`."""

from __future__ import annotations

import os
from pathlib import Path

from edgepress_runtime.errors import EdgepressError


def folder(name: str) -> Path:
    """The cache folder `name`, made if missing. Raises EdgepressError when it cannot be written."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgepress"
    path = Path(os.environ.get("EDGEPRESS_CACHE") or default) / name
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EdgepressError(
            f"the cache {path} cannot be made: {error.strerror}", "set EDGEPRESS_CACHE to a writable folder"
        ) from None
    return path
