"""The microphone: against a stand-in for what a test cannot plug or pull, and against a real sound server."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from tests.apps.fake_sound import FakeSound
from tests.runtime import streams

from edgepress_apps import microphones
from edgepress_apps.microphones import Microphone
from edgepress_runtime.errors import EdgepressError


@pytest.fixture
def sound(monkeypatch):
    """The stand-in in sounddevice's place, and no long waits."""
    fake = FakeSound()
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    monkeypatch.setattr(microphones, "RETRY_S", 0.01)
    monkeypatch.setattr(microphones, "STALLED_S", 0.08)
    return fake


def block(value=0, size=1764):
    return np.full(size, value, np.int16)


def eventually(condition):
    for _ in range(1000):
        if condition():
            return True
        time.sleep(0.01)
    return False


def test_chunks_come_in_order_with_their_rate(sound):
    before = time.monotonic()
    with Microphone(None, 16000) as chunks:
        (stream,) = sound.streams
        for value in (1, 2, 3):
            stream.hear(block(value))
        found = [next(chunks) for _ in range(3)]
    assert [c.samples[0] for c in found] == [1, 2, 3]
    assert [(c.rate_hz, c.lost, len(c.samples), c.samples.dtype) for c in found] == [(44100, 0, 1764, np.int16)] * 3
    assert before <= found[0].t <= found[2].t
    assert stream.closed


def test_it_says_what_it_opened(sound):
    sound.plugged = {"mic a": (2, (16000,)), "mic b": (1, (48000,))}
    with (microphone := Microphone("b", 16000)):
        assert (microphone.name, microphone.rate_hz) == ("mic b", 48000)
        assert sound.streams[0].size == 1920


def test_several_channels_become_one(sound):
    sound.plugged = {"array": (6, (16000,))}
    with Microphone(None, 16000) as chunks:
        (stream,) = sound.streams
        assert stream.channels == 2
        stream.hear(np.array([[10, 20], [-4, -8]], np.int16))
        np.testing.assert_array_equal(next(chunks).samples, [15, -6])


def test_what_a_late_reader_misses_is_counted(sound):
    with Microphone(None, 16000) as chunks:
        (stream,) = sound.streams
        for _ in range(125 + 7):
            stream.hear(block(size=1000))
        assert [next(chunks).lost for _ in range(125)] == [0] * 125
        stream.hear(block(size=1000))
        assert next(chunks).lost == 7000


def test_what_portaudio_lost_is_counted(sound):
    with Microphone(None, 16000) as chunks:
        (stream,) = sound.streams
        stream.hear(block(), overflow=True)
        stream.hear(block())
        assert [next(chunks).lost, next(chunks).lost] == [1764, 0]


def test_closing_wakes_the_reader(sound):
    microphone = Microphone(None, 16000)
    found = []
    with microphone as chunks:
        reader = threading.Thread(target=lambda: found.extend(chunks))
        reader.start()
        sound.streams[0].hear(block())
        assert eventually(lambda: found)
        microphone.close()
        reader.join(5)
        assert not reader.is_alive()
    assert len(found) == 1
    assert not [t for t in threading.enumerate() if t.name == "microphone"]


def test_closing_does_not_wait_for_a_device_that_hangs(sound, monkeypatch):
    monkeypatch.setattr(microphones, "JOIN_S", 0.05)
    hang = threading.Event()
    with Microphone(None, 16000):
        sound.streams[0].close = hang.wait
    hang.set()
    assert eventually(lambda: not [t for t in threading.enumerate() if t.name == "microphone"])


@pytest.mark.parametrize("how", ["its stream ends", "it falls silent"])
def test_one_that_is_unplugged_is_looked_for_until_it_is_back(sound, how):
    told = []
    with Microphone(None, 16000, told=lambda what, why: told.append((what, why))) as chunks:
        sound.streams[0].hear(block(1))
        assert next(chunks).samples[0] == 1
        (name, facts), sound.plugged = next(iter(sound.plugged.items())), {}
        if how == "its stream ends":
            sound.streams[0].finished()
        assert eventually(lambda: sound.scans >= 3)
        assert sound.streams[0].closed and len(sound.streams) == 1
        sound.plugged = {"Webcam": (1, (16000,)), name.replace("hw:1", "hw:2"): facts}
        assert eventually(lambda: len(sound.streams) == 2)
        sound.streams[1].hear(block(2))
        back = next(chunks)
        assert back.samples[0] == 2 and back.rate_hz == 44100 and back.lost > 0
        sound.streams[1].hear(block(3))
        assert next(chunks).lost == 0
    assert told == [
        ("USB Audio: - (hw:1,0)", "it gives no more sound; trying again every second"),
        ("USB Audio: - (hw:2,0)", "it is back"),
    ]


def test_what_goes_wrong_on_opening_is_raised_there(sound):
    sound.busy = True
    with pytest.raises(EdgepressError, match="cannot be opened: Device unavailable"), Microphone(None, 16000):
        pass
    with pytest.raises(EdgepressError, match="there is no microphone 'webcam'"), Microphone("webcam", 16000):
        pass
    assert not [t for t in threading.enumerate() if t.name == "microphone"]


def test_a_sound_system_that_hangs_on_opening(sound, monkeypatch):
    monkeypatch.setattr(microphones, "FIRST_S", 0.05)
    monkeypatch.setattr(microphones, "JOIN_S", 0.05)
    hang = threading.Event()
    monkeypatch.setattr(sound, "query_devices", lambda: hang.wait() and [])
    with pytest.raises(EdgepressError, match="the sound system did not answer within"), Microphone(None, 16000):
        pass
    hang.set()
    assert eventually(lambda: not [t for t in threading.enumerate() if t.name == "microphone"])


def test_an_error_nobody_thought_of_reaches_the_reader(sound, monkeypatch):
    with Microphone(None, 16000) as chunks:
        monkeypatch.setattr(sound, "query_devices", lambda: 1 // 0)
        sound.streams[0].finished()
        with pytest.raises(ZeroDivisionError):
            list(chunks)


# ---- the real thing, in a process of its own

RECORD = """
import sys
import numpy as np
from edgepress_apps.microphones import Microphone

found = []
with Microphone("pulse", int(sys.argv[1])) as chunks:
    for chunk in chunks:
        # The server gives silence first.
        if found or np.abs(chunk.samples).max(initial=0) > 5000:
            found.append(chunk.samples)
        if len(found) == 27:
            break
np.savez(sys.argv[2], samples=np.concatenate(found[2:]), rate_hz=chunk.rate_hz)
"""


@pytest.mark.parametrize("rate_hz", [16000, 44100])
def test_what_is_played_is_recorded(pulse, tmp_path, rate_hz):
    """A tone at 44.1 kHz into the server; from its other end, at 16 kHz or as it is."""
    pulse.play(streams.write_wav(tmp_path / "tone.wav", streams.tone(440, 30, rate_hz=44100), rate_hz=44100))
    command = [sys.executable, "-c", RECORD, str(rate_hz), str(tmp_path / "found.npz")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    assert found["rate_hz"] == rate_hz
    samples = found["samples"].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    assert np.argmax(spectrum) * rate_hz / len(samples) == pytest.approx(440, abs=2)
    assert np.median(spectrum) < spectrum.max() / 1000
