"""A clock that stands still until everyone has done his part, so that no busy machine changes what is measured."""

from __future__ import annotations

import queue
import threading
from typing import Callable


class Lockstep:
    """Virtual time for a measurement, its sampler's thread, and a thread that plays the world.

    `clock`, `sleep` and `call` go to the measurement, `wait` to the `Sampler`. Time moves only in `sleep`: to each
    instant at which the sampler is due, before which `world(t)` has run in the world's own thread.
    """

    def __init__(self, world: Callable[[float], None], *, call_s: float = 0.013) -> None:
        self.now = 1000.0
        self.calls = 0
        self._call_s = call_s
        self._due: float | None = None
        self._gone = False
        self._turn = threading.Condition()
        self._asked: queue.Queue[float | None] = queue.Queue()
        self._done: queue.Queue[BaseException | None] = queue.Queue()
        self._world = threading.Thread(target=self._play, args=(world,), daemon=True)
        self._world.start()
        self._set(self.now)

    def clock(self) -> float:
        return self.now

    def wait(self, stop: threading.Event, seconds: float) -> bool:
        with self._turn:
            self._due = self.now + seconds
            self._turn.notify_all()
            while self._due is not None and not stop.is_set():
                self._turn.wait(0.005)
            self._gone = stop.is_set()
            return self._gone

    def sleep(self, seconds: float) -> None:
        end = self.now + seconds
        while True:
            with self._turn:
                # A sampler whose meter failed never comes again.
                while self._due is None and self._sampling():
                    self._turn.wait(0.005)
                if self._due is None or self._due > end:
                    break
                self._set(self._due)
                self._due = None
                self._turn.notify_all()
        self._set(end)

    def call(self) -> None:
        self.calls += 1
        self.sleep(self._call_s)

    def close(self) -> None:
        self._asked.put(None)
        self._world.join(10)

    def _sampling(self) -> bool:
        return any(thread.name == "meter" for thread in threading.enumerate())

    def _set(self, t: float) -> None:
        self._asked.put(t)
        failure = self._done.get(timeout=30)
        if failure is not None:
            raise failure
        self.now = t

    def _play(self, world: Callable[[float], None]) -> None:
        while (t := self._asked.get()) is not None:
            try:
                world(t)
                self._done.put(None)
            except BaseException as failure:  # noqa: BLE001  it belongs to the test's own thread
                self._done.put(failure)
