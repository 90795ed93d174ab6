"""A meter read again and again beside what is measured, by a thread that ends when it is told to."""

from __future__ import annotations

import threading
import time
from typing import Callable

from edgepress_runtime.meters.reading import Meter, MeterError, Reading

JOIN_S = 2.0
Clock = Callable[[], float]
Wait = Callable[[threading.Event, float], bool]


class Sampler:
    """Context manager: inside it `meter` is read every period; `readings()` gives what was read.

    There is a reading at the very beginning and one at the very end, so that all in between can be integrated. A meter
    that fails ends the thread, and `readings()` then raises its MeterError. `wait(stop, seconds)` rests between two
    readings and is true when it is time to stop; by default it waits for the event.
    """

    def __init__(self, meter: Meter, *, clock: Clock = time.monotonic, wait: Wait = threading.Event.wait) -> None:
        self.source, self.unit, self.period_s, self.clock = meter.source, meter.unit, meter.period_s, clock
        self._meter = meter
        self._stop = threading.Event()
        self._wait = wait
        self._read: list[Reading] = []
        self._failure: MeterError | None = None
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def __enter__(self) -> Sampler:
        self._take()
        if self._failure is None:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.ident is None:
            return
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            # A driver that hangs holds the thread; nothing that it may still read is used.
            self._failure = MeterError(f"{self.source} hangs", "unplug the sensor and plug it in again")
        elif self._failure is None:
            self._take()

    def readings(self, until: float) -> tuple[Reading, ...]:
        """Everything read so far, in order of time. Raises MeterError if the meter failed on the way."""
        if self._failure is not None:
            raise self._failure
        return tuple(self._read)

    def _run(self) -> None:
        while not self._wait(self._stop, self.period_s) and self._failure is None:
            self._take()

    def _take(self) -> None:
        before = self.clock()
        try:
            value = self._meter.read()
        except MeterError as error:
            self._failure = error
            return
        # A reading takes time (a process on a Pi 5): its middle is the best guess at when it was taken.
        self._read.append(Reading(value, self.unit, (before + self.clock()) / 2, self.source))
