"""PortAudio through `sounddevice`: which microphones there are, how one can be opened, and what goes wrong in words.

A sound server that hangs takes every call of PortAudio with it, so none is made by a thread that must go on.
"""

from __future__ import annotations

import atexit
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Callable, NamedTuple, TypeVar

from edgepress_runtime.errors import EdgepressError

_RATES = (48_000, 44_100, 32_000, 96_000, 24_000, 22_050, 16_000, 8_000)
ANSWER_S = 10.0  # some sound servers take seconds
_CHANNELS = (1, 2, 4, 6, 8)
_CARD = re.compile(r" \(hw:\d+,\d+\)$")
_ANSWERS = TypeVar("_ANSWERS")


class Device(NamedTuple):
    """A microphone: its number and name in PortAudio, how many channels it has, and its own rate."""

    number: int
    name: str
    channels: int
    rate_hz: int


def load() -> Any:
    """The module `sounddevice`. Raises EdgepressError when it or PortAudio is not installed."""
    try:
        import sounddevice
    except ImportError:
        raise EdgepressError(
            "listening to a microphone needs sounddevice", "pip install 'edgepress-apps[mic]'"
        ) from None
    except OSError as error:  # that is how it says that the library is missing
        raise EdgepressError(
            f"listening to a microphone needs PortAudio: {error}", "sudo apt install libportaudio2"
        ) from None
    except Exception as error:  # noqa: BLE001  its own error class comes with the module that did not load
        raise EdgepressError(f"PortAudio does not start: {error}", "is a sound server running?") from None
    return sounddevice


def devices(sounddevice: Any) -> tuple[Device, ...]:
    """Every device that records."""
    found = enumerate(sounddevice.query_devices())
    return tuple(
        Device(number, str(d["name"]), int(d["max_input_channels"]), round(d["default_samplerate"]))
        for number, d in found
        if d["max_input_channels"] > 0
    )


def find(sounddevice: Any, wanted: str | None) -> Device:
    """The microphone `wanted` as for `choose`; None: the one that the system prefers. Raises EdgepressError."""
    known = devices(sounddevice)
    if wanted is not None:
        return choose(known, wanted)
    preferred = sounddevice.default.device[0]
    for device in sorted(known, key=lambda d: d.number != preferred):
        return device
    raise _none()


def choose(known: Sequence[Device], wanted: str) -> Device:
    """The microphone with the number or name `wanted`, or the only one whose name holds it.

    Raises EdgepressError that names near matches, or all there are.
    """
    if wanted.isdecimal():
        matches = [device for device in known if device.number == int(wanted)]
    else:
        low = wanted.casefold()
        same = [device for device in known if device.name.casefold() == low]
        # A USB microphone that was plugged in again may have another card number in its name.
        base = _CARD.sub("", low)
        matches = same[:1] or [device for device in known if base in device.name.casefold()]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(f"{device.number} {device.name}" for device in matches)
        raise EdgepressError(f"{wanted!r} may mean several microphones: {names}", "give its number")
    if not known:
        raise _none()
    from difflib import get_close_matches

    by_name = {device.name.casefold(): device.name for device in known}
    near = get_close_matches(wanted.casefold(), by_name, 1, 0.5)
    listed = ", ".join(f"{device.number} {device.name}" for device in known)
    raise EdgepressError(
        f"there is no microphone {wanted!r}", f"did you mean {by_name[near[0]]!r}?" if near else f"there are: {listed}"
    )


def settings(sounddevice: Any, device: Device, rate_hz: int) -> tuple[int, int]:
    """(rate, channels) at which `device` can be opened: at `rate_hz` if it agrees, else at its own rate or another.

    Raises EdgepressError with the reason that the device gave last.
    """
    rates = dict.fromkeys((rate_hz, device.rate_hz, *_RATES))
    counts = [n for n in dict.fromkeys((*_CHANNELS, device.channels)) if n <= device.channels]
    reason = "it has no channels"
    for rate in rates:
        for channels in counts:
            try:
                sounddevice.check_input_settings(
                    device=device.number, channels=channels, dtype="int16", samplerate=rate
                )
            except (sounddevice.PortAudioError, ValueError) as error:
                reason = said(error)
            else:
                return rate, channels
    raise EdgepressError(f"the microphone {device.name} cannot be opened: {reason}", "does another program hold it?")


def rescan(sounddevice: Any) -> None:
    """Look for devices anew, which PortAudio does only when it starts. No stream may be open."""
    # There is no public name for this; what goes wrong shows when a device is opened.
    for step in ("_terminate", "_initialize"):
        try:
            getattr(sounddevice, step)()
        except (AttributeError, sounddevice.PortAudioError):
            pass


def said(error: Exception) -> str:
    """PortAudio's words, without those that every message begins with."""
    text = " ".join(str(error.args[0] if error.args else error).split())
    return text.partition(": ")[2] if text.startswith("Error ") and ": " in text else text


def within(seconds: float, call: Callable[[], _ANSWERS]) -> _ANSWERS:
    """What `call` returns or raises; EdgepressError if it takes longer than `seconds`."""
    answers: list[_ANSWERS] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(call())
        except BaseException as error:  # noqa: BLE001  handed to whoever waits
            errors.append(error)

    thread = threading.Thread(target=run, name="portaudio", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not answers:
        give_up()
        raise no_answer(seconds)
    return answers[0]


def no_answer(seconds: float) -> EdgepressError:
    """What to raise when PortAudio hangs."""
    return EdgepressError(f"the sound system did not answer within {seconds:g} s", "restart the sound server")


def give_up() -> None:
    """Let the process end although a call of PortAudio hangs, for which sounddevice would wait at its exit."""
    module = sys.modules.get("sounddevice")
    handler = getattr(module, "_exit_handler", None)
    if handler is not None:
        atexit.unregister(handler)


def _none() -> EdgepressError:
    return EdgepressError("no microphone was found", "plug one in; arecord -l should list it")


@contextmanager
def hushed() -> Iterator[None]:
    """Keep what ALSA and PortAudio print by themselves off stderr; what Python writes to `sys.stderr` still comes."""
    try:
        kept = os.dup(2)
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except OSError:
        yield
        return
    before = sys.stderr
    before.flush()
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = open(os.dup(kept), "w", buffering=1, encoding=before.encoding, errors=before.errors)  # noqa: SIM115, PTH123
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = before
        os.dup2(kept, 2)
        os.close(kept)
