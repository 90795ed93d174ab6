"""What a command means by its first word: an X.edge file, or the active release of an installed model."""

from __future__ import annotations

import os
from typing import Callable

from edgepress_runtime.bundle import Bundle, is_bundle, open_bundle
from edgepress_runtime.errors import BundleError
from edgepress_runtime.status import Started
from edgepress_runtime.store import Store


def start_target(target: str | None, root: str | os.PathLike[str] | None = None) -> tuple[Started, Callable[[], None]]:
    """What an app should run for `target`, as `open_target` understands it, and what it calls once that has worked.

    An X.edge file is never on trial. Raises StoreError, BundleError.
    """
    store = Store(root)
    if target is None or target in store.names():
        started = store.start(target)
        if not started.confirmed:
            return started, lambda: store.confirm(started.bundle)
        return started, _nothing
    return Started(open_target(target, root), confirmed=True), _nothing


def open_target(target: str | None, root: str | os.PathLike[str] | None = None) -> Bundle:
    """The bundle that a command means: the file X.edge, or the active release of a NAME (None: the only one) in `root`.

    Raises StoreError, BundleError.
    """
    if target is not None and is_bundle(target):
        return open_bundle(target)
    store = Store(root)
    if target is not None and os.path.lexists(target) and target not in store.names():
        raise BundleError(
            f"{target} is neither an installed model nor an X.edge bundle",
            "make a bundle with: edgepress convert RUN --out X.edge",
        )
    return store.open(target)


def _nothing() -> None:
    """There is nothing to confirm."""
