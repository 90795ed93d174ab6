import json
import os
import queue
import signal
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from tests.runtime import streams

import edgepress_apps
import edgepress_runtime
from edgepress_apps import listen_cli, portaudio


@pytest.fixture
def environment(tmp_path):
    source = [str(Path(package.__file__).parent.parent) for package in (edgepress_apps, edgepress_runtime)]
    store = str(tmp_path / "store")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(source), "EDGEPRESS_ROOT": store, "COLUMNS": "200"}


@pytest.fixture
def command(environment):
    """Runs the command as a real process with an empty model store."""

    def run(*words, module="edgepress_apps.listen_cli", given=b"", **changes):
        words = [sys.executable, "-m", module, *map(str, words)]
        done = subprocess.run(
            words, env={**environment, **changes}, input=given, capture_output=True, timeout=60, check=False
        )
        done.stdout, done.stderr = done.stdout.decode(), done.stderr.decode()
        return done

    return run


@pytest.fixture
def house(tmp_path):
    """`house.edge`, which hears a low tone as "computer" and a high one as "lights on"."""
    return streams.write_stream(tmp_path / "house.edge", model=streams.beep_stream("int8"))


def evening(rate_hz=16000):
    samples = streams.hiss(5, rate_hz=rate_hz)
    for begin, hz in ((1, 1100), (3, 4700)):
        word = streams.tone(hz, 0.4, rate_hz=rate_hz)
        samples[begin * rate_hz :][: len(word)] += word
    return samples


@pytest.fixture
def shelf(tmp_path):
    folder = tmp_path / "shelf"
    folder.mkdir()
    streams.write_wav(folder / "evening.wav", evening())
    streams.write_wav(folder / "evening-44.wav", evening(44100), rate_hz=44100)
    streams.write_wav(folder / "faint.wav", evening() // 100)
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


def heard(text):
    return [line.split("\t")[:2] for line in text.splitlines()]


def test_one_line_a_detection(command, house, shelf):
    done = command(house, "--wav", shelf / "evening.wav")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [[str(shelf / "evening.wav"), w] for w in ("computer", "lights on")]
    assert all(0.6 <= float(row[2]) <= 1 for row in rows)
    begin, end = map(float, rows[0][3].removesuffix(" s").split("-"))
    assert begin < 1 < end < 1.5
    assert done.stderr == ""


def test_a_folder_of_recordings_with_what_is_wrong_with_them(command, house, shelf):
    done = command(house, "--wav", shelf)
    assert done.returncode == 0
    names = [str(shelf / f"{name}.wav") for name in ("evening-44", "evening", "faint") for _ in range(2)]
    assert heard(done.stdout) == list(map(list, zip(names, ["computer", "lights on"] * 3, strict=True)))
    assert f"skipped {shelf / 'broken.wav'}: broken.wav " in done.stderr
    assert f"{shelf / 'faint.wav'}: very quiet, no peak above -50 dB of full scale: turn the gain up" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_json_is_one_object_a_line_and_stdout_is_pure(command, house, shelf):
    done = command(house, "--wav", shelf / "faint.wav", "--json", "--threads", 1)
    first, second = [json.loads(line) for line in done.stdout.splitlines()]
    assert first.keys() == {"origin", "time", "label", "score", "start_s", "end_s"}
    assert (first["origin"], first["time"], first["label"]) == (str(shelf / "faint.wav"), None, "computer")
    assert 3 < second["end_s"] < 3.5
    assert second["end_s"] == round(second["end_s"], 3)
    assert "very quiet" in done.stderr


@pytest.mark.parametrize(("rate_hz", "words"), [(16000, ()), (44100, ("--rate", "44100"))])
def test_raw_samples_on_standard_input(command, house, rate_hz, words):
    done = command(house, "--raw", *words, "--json", given=evening(rate_hz).astype("<i2").tobytes())
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["label"] for row in rows] == ["computer", "lights on"], done.stderr
    assert datetime.fromisoformat(rows[0]["time"]).tzinfo is not None
    assert rows[0]["origin"] == ""


def test_another_threshold(command, house, shelf, tmp_path):
    assert command(house, "--wav", shelf / "evening.wav", "--threshold", "1").stdout == ""
    assert len(command(house, "--wav", shelf / "evening.wav", "--threshold", "0.1").stdout.splitlines()) == 2
    streams.write_stream(tmp_path / "bare.edge", model=streams.beep_stream("int8"), thresholds={})
    assert (
        "error: house has no thresholds, so it would never report a word\ntip: --threshold 0.5"
        in command(tmp_path / "bare.edge", "--wav", shelf).stderr
    )
    done = command(tmp_path / "bare.edge", "--wav", shelf / "evening.wav", "--threshold", "0.5")
    assert [row[1] for row in heard(done.stdout)] == ["computer", "lights on"]


def test_an_installed_model_is_found_by_its_name_and_without(command, house, shelf):
    assert command("install", house, module="edgepress_runtime").returncode == 0
    named = command("house", "--wav", shelf / "evening.wav")
    assert named.stdout == command("--wav", shelf / "evening.wav").stdout
    assert len(named.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        ("nothing.edge --wav SHELF", "error: nothing.edge does not exist", 1),
        ("house --wav SHELF", "error: no model named 'house' is installed", 1),
        ("HOUSE --wav nowhere.wav", "error: nowhere.wav does not exist", 1),
        ("HOUSE --wav SHELF/broken.wav", "error: no sound could be read\ntip: the lines above say why", 1),
        ("HOUSE --raw", "error: no sound could be read\ntip: nothing came in", 1),
        ("HOUSE --raw --rate 100", "error: a rate of 100 Hz is outside 4000 to 192000 Hz", 1),
        ("CATS --wav SHELF", "error: light is a model for image-classification, not for keyword-spotting", 1),
        ("HOUSE --raw --wav SHELF", "argument --wav: not allowed with argument --raw", 2),
        ("HOUSE --rate 8000", "--rate says what --raw is", 2),
        ("HOUSE --raw --rate 0", "'0' is not a whole number from 1 to", 2),
        ("HOUSE --raw --threshold 0", "'0' is not a number above 0 and up to 1", 2),
        ("HOUSE --raw --threshold nan", "'nan' is not a number above 0 and up to 1", 2),
        ("HOUSE --wav", "argument --wav: expected at least one argument", 2),
    ],
)
def test_bad_input_is_one_sentence(command, house, shelf, bright_bundle, words, sentence, code):
    places = {"HOUSE": str(house), "SHELF": str(shelf), "CATS": str(bright_bundle)}
    filled = [places.get(w, w) for w in words.split()]
    filled = [w.replace("SHELF/", f"{shelf}/") for w in filled]
    done = command(*filled, given=b"\0\0" if "--rate 100" in words else b"")
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_keyword_model_is_no_camera_s(command, house, tmp_path):
    done = command(house, "--source", tmp_path, module="edgepress_apps.camera_cli")
    assert done.returncode == 1
    assert "error: house is a model for keyword-spotting, not for image-classification" in done.stderr


def test_help_has_an_example_and_loads_no_engine(command):
    done = command("--help")
    assert done.returncode == 0
    assert "edgepress-listen computer.edge --wav evening.wav --json" in done.stdout
    probe = "import sys, edgepress_apps.listen_cli; print('numpy' in sys.modules, 'sounddevice' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout.split() == ["False"] * 2


def test_without_sounddevice_it_says_what_to_install(command, house, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise ImportError", encoding="utf-8")
    path = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    for words in ((house,), ("--list-devices",)):
        done = command(*words, **path)
        assert done.returncode == 1
        assert done.stderr == (
            "error: listening to a microphone needs sounddevice\ntip: pip install 'edgepress-apps[mic]'\n"
        )


def test_raw_samples_are_not_typed(environment, house):
    primary, secondary = os.openpty()
    words = [sys.executable, "-m", "edgepress_apps.listen_cli", str(house), "--raw"]
    done = subprocess.run(
        words, env=environment, stdin=secondary, capture_output=True, text=True, timeout=60, check=False
    )
    os.close(primary)
    os.close(secondary)
    assert done.returncode == 1
    assert done.stderr == (
        "error: --raw listens to standard input, and nothing is piped into it\n"
        "tip: arecord -t raw -f S16_LE -r 16000 | edgepress-listen --raw\n"
    )


def test_a_list_of_devices_that_hangs_says_so(monkeypatch, capfd):
    """PortAudio's start takes stderr away, and a server that hangs keeps it there."""
    gone = threading.Event()

    def load():
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        gone.wait(10)

    monkeypatch.setattr(portaudio, "ANSWER_S", 0.05)
    monkeypatch.setattr(portaudio, "load", load)
    assert listen_cli.main(["--list-devices"]) == 1
    gone.set()
    assert capfd.readouterr().err == (
        "error: the sound system did not answer within 0.05 s\ntip: restart the sound server\n"
    )


# ---- a live microphone


class Listening:
    """The command at work: its lines as they come, "out" and "err" apart."""

    def __init__(self, *words, env):
        command = [sys.executable, "-m", "edgepress_apps.listen_cli", *map(str, words)]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = {"out": queue.Queue(), "err": queue.Queue()}
        self.readers = []
        for name, stream in (("out", self.process.stdout), ("err", self.process.stderr)):
            self.readers.append(threading.Thread(target=self._collect, args=(stream, self.lines[name])))
            self.readers[-1].start()

    def _collect(self, stream, lines):
        with stream:
            for line in stream:
                lines.put(line.rstrip("\n"))
        lines.put(None)

    def wait_for(self, name, text):
        while (line := self.lines[name].get(timeout=60)) is not None:
            if text in line:
                return line
        raise AssertionError(f"it ended without {text!r}")

    def rest(self, name):
        found = []
        while (line := self.lines[name].get(timeout=60)) is not None:
            found.append(line)
        return found

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def end(self):
        self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join(10)


@pytest.fixture
def listening(house, environment, pulse):
    """Starts the command on the server's microphone."""
    begun = []

    def start(*words):
        begun.append(Listening(house, *words, env={**environment, **pulse.environment}))
        return begun[-1]

    yield start
    for one in begun:
        one.end()


@pytest.fixture
def spoken(tmp_path):
    """Half a minute of both words in turn, at 44.1 kHz."""
    return streams.write_wav(tmp_path / "spoken.wav", np.tile(evening(44100), 6), rate_hz=44100)


def test_words_are_heard_through_a_microphone(listening, pulse, spoken):
    running = listening("--device", "pulse", "--json")
    assert running.wait_for("err", "listening to") == "listening to pulse at 16000 Hz; Ctrl-C ends it"
    pulse.play(spoken)
    rows = [json.loads(running.wait_for("out", "label")) for _ in range(3)]
    assert {row["label"] for row in rows} == {"computer", "lights on"}
    assert rows[0]["end_s"] < rows[1]["end_s"] < rows[2]["end_s"]
    assert running.interrupt() == 130
    assert running.rest("err")[-1] == "error: interrupted"


def test_a_sound_server_that_dies_is_survived(listening, pulse, spoken):
    running = listening()
    pulse.play(spoken)
    running.wait_for("out", "computer")
    pulse.kill()
    running.wait_for("err", "it gives no more sound; trying again every second")
    pulse.start()
    pulse.play(spoken)
    running.wait_for("err", "it is back")
    running.wait_for("out", "computer")
    assert running.interrupt() == 130
    # What ALSA and PortAudio print by themselves is not for people.
    rest = running.rest("err")
    assert all("of sound were lost" in line for line in rest[:-1]) and rest[-1] == "error: interrupted"


@pytest.mark.slow
def test_a_sound_server_that_hangs_does_not_keep_the_command_from_ending(listening, pulse, spoken):
    running = listening()
    pulse.play(spoken)
    running.wait_for("out", "\t")
    pulse.server.send_signal(signal.SIGSTOP)
    running.wait_for("err", "it gives no more sound")
    assert running.interrupt() == 130


def test_devices_are_listed_and_mistyped_ones_named(command, pulse, house):
    done = command("--list-devices", "--json", **pulse.environment)
    assert done.returncode == 0, done.stderr
    assert "pulse" in {device["name"] for device in json.loads(done.stdout)["devices"]}
    assert "\tpulse\t44100 Hz\tchannels 32" in command("--list-devices", **pulse.environment).stdout
    wrong = command(house, "--device", "pulsse", **pulse.environment)
    assert (wrong.returncode, wrong.stderr) == (
        1,
        "error: there is no microphone 'pulsse'\ntip: did you mean 'pulse'?\n",
    )
