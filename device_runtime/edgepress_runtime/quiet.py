"""Keeping an engine's chatter off stderr: it writes to file descriptor 2 and knows no switch."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHATTER = (b"INFO:", b"VERBOSE:")
_ONE_AT_A_TIME = threading.Lock()  # the descriptor is the whole process's


@contextmanager
def without_chatter() -> Iterator[None]:
    """Set file descriptor 2 aside; what was written to it meanwhile follows afterwards, without INFO lines.

    So no warning and no error is lost. Does nothing where the descriptor is closed or no file can be made.
    """
    with _ONE_AT_A_TIME:
        try:
            kept = os.dup(2)
        except OSError:
            yield
            return
        try:
            with _scratch() as scratch:
                if scratch is None:
                    yield
                    return
                os.dup2(scratch, 2)
                try:
                    yield
                finally:
                    os.dup2(kept, 2)
                    _tell(scratch)
        finally:
            os.close(kept)


@contextmanager
def _scratch() -> Iterator[int | None]:
    """A file in memory where the system has such, else a temporary one; None if there is no room for either."""
    try:
        if hasattr(os, "memfd_create"):
            made = os.memfd_create("stderr")
        else:
            import tempfile

            with tempfile.TemporaryFile() as file:
                made = os.dup(file.fileno())
    except OSError:
        yield None
        return
    try:
        yield made
    finally:
        os.close(made)


def _tell(scratch: int) -> None:
    try:
        os.lseek(scratch, 0, os.SEEK_SET)
        with os.fdopen(os.dup(scratch), "rb") as file:
            heard = b"".join(line for line in file if not line.startswith(_CHATTER))
        if heard:
            os.write(2, heard)
    except OSError:
        pass
