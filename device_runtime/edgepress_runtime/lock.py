"""One writer at a time in a store."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgepress_runtime import disk
from edgepress_runtime.errors import StoreError

WAIT_S = 60.0


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Nobody else writes to the store `root` while this is held. Raises StoreError where it cannot be had.

    The kernel lets go of the lock when its process dies, however it dies.
    """
    import fcntl

    try:
        disk.make_dir(root)
        descriptor = os.open(root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise disk.refused(root, error) from None
    try:
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreError("another install has been running for a minute", "try again later") from None
                time.sleep(0.05)
        yield
    except OSError as error:
        raise disk.refused(root, error) from error
    finally:
        os.close(descriptor)
