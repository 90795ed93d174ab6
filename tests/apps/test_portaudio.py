import os
import subprocess
import sys
import threading

import pytest
from tests.apps.fake_sound import FakeSound

from edgepress_apps import portaudio
from edgepress_apps.portaudio import Device, choose, settings, within
from edgepress_runtime.errors import EdgepressError

KNOWN = (
    Device(1, "USB PnP Sound Device: Audio (hw:1,0)", 1, 44100),
    Device(2, "seeed-4mic-voicecard: - (hw:2,0)", 4, 16000),
    Device(5, "pulse", 32, 44100),
    Device(6, "default", 32, 44100),
)


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        ("2", 2),
        ("pulse", 5),
        ("Pulse", 5),
        ("usb pnp", 1),
        ("seeed", 2),
        ("USB PnP Sound Device: Audio (hw:1,0)", 1),
        ("USB PnP Sound Device: Audio (hw:3,0)", 1),  # plugged in again, it became another card
    ],
)
def test_a_microphone_is_found_by_number_name_or_part_of_it(wanted, number):
    assert choose(KNOWN, wanted).number == number


@pytest.mark.parametrize(
    ("wanted", "what", "remedy"),
    [
        ("puls-e", "there is no microphone 'puls-e'", "did you mean 'pulse'?"),
        ("9", "there is no microphone '9'", "there are: 1 USB PnP"),
        ("webcam", "there is no microphone 'webcam'", "there are: 1 USB PnP Sound Device: Audio (hw:1,0), 2 seeed"),
        ("hw:", "'hw:' may mean several microphones: 1 USB PnP", "give its number"),
    ],
)
def test_a_name_that_is_wrong_is_one_sentence(wanted, what, remedy):
    with pytest.raises(EdgepressError) as caught:
        choose(KNOWN, wanted)
    assert caught.value.what.startswith(what)
    assert caught.value.remedy.startswith(remedy)


def test_no_microphone_at_all():
    sound = FakeSound()
    sound.plugged = {}
    for wanted in (None, "usb"):
        with pytest.raises(EdgepressError, match="no microphone was found"):
            portaudio.find(sound, wanted)


def test_the_system_s_own_microphone_is_the_first_choice():
    sound = FakeSound()
    sound.plugged = {"a": (1, (16000,)), "b": (2, (16000,))}
    sound.default.device = (1, 2)
    assert portaudio.find(sound, None).name == "b"
    sound.default.device = (-1, -1)
    assert portaudio.find(sound, None).name == "a"


@pytest.mark.parametrize(
    ("channels", "rates", "expected"),
    [
        (1, (44100, 16000), (16000, 1)),
        (2, (16000,), (16000, 1)),
        (1, (44100, 48000), (44100, 1)),  # no 16 kHz: its own rate
        (6, (48000,), (48000, 2)),  # no single channel either
    ],
)
def test_a_microphone_is_opened_as_it_can_be(channels, rates, expected):
    sound = FakeSound()
    sound.plugged = {"mic": (channels, rates)}
    assert settings(sound, Device(0, "mic", channels, rates[0]), 16000) == expected


def test_one_that_cannot_be_opened_says_why():
    sound = FakeSound()
    sound.busy = True
    with pytest.raises(EdgepressError) as caught:
        settings(sound, Device(0, "mic", 1, 44100), 16000)
    assert caught.value.what == "the microphone mic cannot be opened: Device unavailable [PaErrorCode -9985]"


def test_without_sounddevice_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(EdgepressError) as caught:
        portaudio.load()
    assert str(caught.value) == "listening to a microphone needs sounddevice (pip install 'edgepress-apps[mic]')"


def test_without_the_library_the_sentence_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(EdgepressError) as caught:
        portaudio.load()
    assert caught.value.what == "listening to a microphone needs PortAudio: PortAudio library not found"
    assert caught.value.remedy == "sudo apt install libportaudio2"


def test_a_call_that_hangs_is_given_up():
    hang = threading.Event()
    with pytest.raises(EdgepressError, match=r"the sound system did not answer within 0\.05 s"):
        within(0.05, hang.wait)
    hang.set()
    assert within(5, lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)


def test_what_libraries_print_is_kept_off_stderr_and_ours_is_not():
    code = (
        "import os, sys\n"
        "from edgepress_apps.portaudio import hushed\n"
        "from edgepress_runtime.lines import complain\n"
        "os.write(2, b'before\\n')\n"
        "with hushed():\n"
        "    os.write(2, b'ALSA lib confmisc.c: no\\n')\n"
        "    complain('ours')\n"
        "os.write(2, b'after\\n'); print('last', file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stderr.splitlines() == ["before", "ours", "after", "last"]
