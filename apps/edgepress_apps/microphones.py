"""A live microphone as a source of chunks, that survives being unplugged."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgepress_apps import portaudio
from edgepress_apps.sounds import CHUNK_S, AudioChunk, Told, ignore
from edgepress_runtime.audio import Audio, mono
from edgepress_runtime.errors import EdgepressError

QUEUE_S = 5.0  # of sound that may wait for a reader who is late
FIRST_S = 10.0  # some sound servers take seconds until the first chunk
STALLED_S = 3.0  # without another one: the device is gone, whatever it says
RETRY_S = 1.0
JOIN_S = 2.0


class Microphone:
    """A microphone by its number or name (None: the system's own), at `rate_hz` if it can, else at a rate of its own.

    One that goes away is looked for every second until it is back; both are told to `told`, and the first chunk after
    the gap says how much is missing. `name` and `rate_hz` are those that it was opened with. Raises EdgepressError on
    entering when there is no such microphone or it cannot be opened.
    """

    def __init__(self, device: str | None, rate_hz: int, *, told: Told = ignore) -> None:
        self.name = device or ""
        self.rate_hz = rate_hz
        self._device = device
        self._wanted_hz = rate_hz
        self._told = told
        # (bytes, rate, channels, time, lost, back from a gap), what ended the thread, or None for the end.
        self._waiting: queue.Queue[Any] = queue.Queue(round(QUEUE_S / CHUNK_S))
        self._closing = threading.Event()
        self._opened = threading.Event()
        self._over = threading.Event()
        self._failure: Exception | None = None
        self._last = self._gone_at = 0.0  # times of the last chunk, and of the last one before a gap
        self._thread = threading.Thread(target=self._keep_open, name="microphone", daemon=True)

    def __enter__(self) -> Iterator[AudioChunk]:
        self._thread.start()
        if not self._opened.wait(FIRST_S):
            self.close()
            raise portaudio.no_answer(FIRST_S)
        if self._failure is not None:
            raise self._failure
        return self._chunks()

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """Stop recording, and wake whoever waits for a chunk. Takes at most two seconds, even if the device hangs."""
        self._closing.set()
        self._over.set()
        self._hand_over(None)
        self._thread.join(JOIN_S)
        if self._thread.is_alive():
            portaudio.give_up()

    def _chunks(self) -> Iterator[AudioChunk]:
        while not self._closing.is_set():
            item = self._waiting.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            data, rate_hz, channels, t, lost, back = item
            if back:
                self._told(self.name, "it is back")
            samples = mono(Audio(np.frombuffer(data, np.int16).reshape(-1, channels), rate_hz))
            yield AudioChunk(samples, rate_hz, t, lost)

    def _keep_open(self) -> None:
        """The thread's whole life: open, wait until something ends the stream, close it, and again."""
        try:
            sounddevice = portaudio.load()
            while not self._closing.is_set():
                self._over.clear()
                try:
                    stream = self._open(sounddevice)
                except EdgepressError:
                    if not self._opened.is_set():
                        raise
                else:
                    self._opened.set()
                    self._watch(stream)
                    stream.close()
                if not self._closing.wait(RETRY_S):
                    portaudio.rescan(sounddevice)
        except Exception as error:  # noqa: BLE001  nobody is above a thread: whoever reads is told
            self._fail(error)

    def _open(self, sounddevice: Any) -> Any:
        try:
            return self._start(sounddevice)
        except sounddevice.PortAudioError as error:
            raise EdgepressError(
                f"the microphone {self.name} cannot be opened: {portaudio.said(error)}", "does another program hold it?"
            ) from None

    def _start(self, sounddevice: Any) -> Any:
        device = portaudio.find(sounddevice, self._device)
        rate_hz, channels = portaudio.settings(sounddevice, device, self._wanted_hz)
        lost = 0

        def heard(data: Any, frames: int, _: Any, status: Any) -> None:
            # In PortAudio's own thread: copy and count, nothing else.
            nonlocal lost
            now = time.monotonic()
            back = self._gone_at > 0  # this is the first chunk after the microphone was away
            if back:
                lost += max(0, round((now - self._gone_at) * rate_hz) - frames)
                self._gone_at = 0.0
            if status.input_overflow:  # PortAudio does not say how much: at least about a chunk
                lost += frames
            if self._hand_over((bytes(data), rate_hz, channels, now, lost, back)):
                lost = 0
            else:
                lost += frames
            self._last = now

        stream = sounddevice.RawInputStream(
            samplerate=rate_hz,
            blocksize=round(CHUNK_S * rate_hz),
            device=device.number,
            channels=channels,
            dtype="int16",
            callback=heard,
            finished_callback=self._over.set,
        )
        stream.start()
        # From now on this very one, whatever becomes the system's own.
        self.name, self.rate_hz, self._device = device.name, rate_hz, device.name
        return stream

    def _watch(self, stream: Any) -> None:
        """Return when the stream has ended, or has given nothing for too long."""
        begin = time.monotonic()
        self._last = 0.0
        while not self._over.wait(STALLED_S / 4) and not self._closing.is_set():
            silent = time.monotonic() - (self._last or begin)
            if silent > (STALLED_S if self._last else FIRST_S):
                break
        if self._closing.is_set():
            return
        if not self._gone_at:
            self._told(self.name, "it gives no more sound; trying again every second")
            self._gone_at = self._last or begin

    def _hand_over(self, item: Any) -> bool:
        """Put `item` where the reader waits; False if there is no room."""
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            return False
        return True

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._opened.set()
        while not self._hand_over(error):
            try:
                self._waiting.get_nowait()
            except queue.Empty:
                pass
