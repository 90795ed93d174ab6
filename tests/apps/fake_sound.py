"""A stand-in for the package sounddevice, with microphones that a test plugs in, feeds and pulls out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np


class PortAudioError(Exception):
    """As sounddevice raises it: a message, and PortAudio's number."""


class FakeSound:
    """The module. `plugged` maps a microphone's name to its channels and the rates it can be opened at."""

    PortAudioError = PortAudioError

    def __init__(self) -> None:
        self.plugged: dict[str, tuple[int, tuple[int, ...]]] = {"USB Audio: - (hw:1,0)": (1, (44100, 48000))}
        self.default = SimpleNamespace(device=(0, 0))
        self.streams: list[Stream] = []
        self.scans = 0
        self.busy = False

    def query_devices(self) -> list[dict[str, Any]]:
        speaker = {"name": "HDMI", "max_input_channels": 0, "default_samplerate": 48000.0}
        found = [
            {"name": name, "max_input_channels": channels, "default_samplerate": float(rates[0])}
            for name, (channels, rates) in self.plugged.items()
        ]
        return [*found, speaker]

    def check_input_settings(self, *, device: int, channels: int, dtype: str, samplerate: int) -> None:
        most, rates = list(self.plugged.values())[device]
        if self.busy:
            raise PortAudioError("Error opening InputStream: Device unavailable [PaErrorCode -9985]", -9985)
        if channels > most or (channels == 1 and most == 6):
            raise PortAudioError("Error opening InputStream: Invalid number of channels [PaErrorCode -9998]", -9998)
        if samplerate not in rates:
            raise PortAudioError("Error opening InputStream: Invalid sample rate [PaErrorCode -9997]", -9997)

    def RawInputStream(self, **options: Any) -> Stream:
        stream = Stream(self, **options)
        self.streams.append(stream)
        return stream

    def _terminate(self) -> None:
        assert not [s for s in self.streams if not s.closed]

    def _initialize(self) -> None:
        self.scans += 1


class Stream:
    def __init__(
        self, sound: FakeSound, *, samplerate, blocksize, device, channels, dtype, callback, finished_callback
    ):
        sound.check_input_settings(device=device, channels=channels, dtype=dtype, samplerate=samplerate)
        self.rate_hz, self.size, self.channels = samplerate, blocksize, channels
        self.callback, self.finished = callback, finished_callback
        self.started = self.closed = False

    def start(self) -> None:
        self.started = True

    def close(self) -> None:
        self.closed = True

    def hear(self, samples: np.ndarray, *, overflow: bool = False) -> None:
        """Samples, (n,) or (n, channels), as PortAudio would hand them over."""
        self.callback(samples.tobytes(), len(samples), None, SimpleNamespace(input_overflow=overflow))
