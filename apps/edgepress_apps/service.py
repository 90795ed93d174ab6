"""What a service tells systemd: that it works, that it still does, that it ends (sd_notify(3)). Else it does nothing.

READY comes with the first healthy answers and not before, so that a unit that never gets there counts as not started.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Callable

ALIVE_EVERY_S = 1.0


class Service:
    """Speaks to the service manager that started this process; without one all calls do nothing."""

    def __init__(
        self, environment: dict[str, str] | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of an abstract name
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._clock = clock
        self._next = 0.0

    def ready(self) -> None:
        """The first answers came."""
        self._tell("READY=1")

    def alive(self) -> None:
        """The work goes on; may be called as often as one likes, and is passed on once a second."""
        now = self._clock()
        if self._address and now >= self._next:
            self._next = now + ALIVE_EVERY_S
            self._tell("WATCHDOG=1")

    def stopping(self) -> None:
        """The end was asked for."""
        self._tell("STOPPING=1")

    def _tell(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
                out.connect(self._address)
                out.send(text.encode("ascii"))
        except OSError:
            pass  # a manager that does not listen must not end what works
