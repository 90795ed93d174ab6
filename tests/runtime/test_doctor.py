"""The doctor on boards made of files: a Pi Zero 2 W with troubles, a Pi 5 in good order, a PC; and on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import namedtuple

import pytest
from tests.runtime import trees

from edgepress_runtime.doctor import engine_probe
from edgepress_runtime.doctor.examine import CHECKS, examine, lines, told
from edgepress_runtime.doctor.finding import Engine
from edgepress_runtime.doctor.wheels import Platform


@pytest.fixture
def seen(tmp_path):
    """Plants a tree and examines it: seen(trees.pi_5, ...) -> (facts, {subject: [(what, remedy)]})."""

    def look(tree, **changes):
        root = tree(tmp_path / "root")
        store = tmp_path / "store"
        store.mkdir(exist_ok=True)
        found = told(examine(trees.somebody(store, **changes), root))
        problems: dict[str, list[tuple[str, str]]] = {}
        for problem in found["problems"]:
            problems.setdefault(problem["about"], []).append((problem["what"], problem["remedy"]))
        return found, problems

    return look


def test_a_pi_5_in_good_order(seen):
    found, problems = seen(trees.pi_5)
    assert problems == {}
    assert found["ok"] is True
    assert found["board"] == {"model": "Raspberry Pi 5 Model B Rev 1.0", "cores": 4, "memory_mb": 8254}
    assert found["system"]["name"] == "Debian GNU/Linux 13 (trixie)"
    assert (found["system"]["kernel_bits"], found["system"]["userland_bits"]) == (64, 64)
    assert (found["python"]["version"], found["python"]["wheel"]) == ("3.13", "ai-edge-litert")
    assert found["cameras"] == {"v4l2": [], "ribbon": ["imx708_wide"], "libcamera": True, "picamera2": True}
    assert found["microphones"]["cards"] == [
        {"card": 2, "id": "Microphone", "name": "USB Audio", "rates_hz": [44100, 48000]}
    ]
    assert found["sensors"]["power"] == ["hwmon3 ina226 power1", "pmic"]
    assert found["sensors"]["temperatures"] == [{"zone": "cpu-thermal", "c": 48.0}]
    assert found["clock"]["synchronized"] is True
    assert found["throttling"] == {"flags": "0x0", "now": [], "since_start": []}
    assert found["governor"] == {"governor": "ondemand", "cpu_mhz": 2400.0, "max_mhz": 2400.0}
    assert found["groups"]["missing"] == []


def test_a_pi_zero_2_w_with_troubles(seen):
    board = Platform("aarch64", 32, (3, 11), "glibc", (2, 36))
    found, problems = seen(
        trees.zero_2_w,
        platform=board,
        groups=frozenset(("pi", "audio")),
        modules=frozenset(),
        engine=Engine(error="no engine for .tflite models is installed", remedy="pip install ai-edge-litert"),
        now=1.0e9,
    )
    assert found["ok"] is False
    assert [p["about"] for p in found["problems"] if p["stops"]] == ["engine"]
    pip = "/home/pi/edgepress/bin/python -m pip"
    assert problems["engine"] == [
        ("no engine for .tflite models is installed", f"{pip} install tflite-runtime==2.14.0 'numpy<2'")
    ]
    assert (found["system"]["kernel_bits"], found["system"]["userland_bits"]) == (64, 32)
    assert problems["cameras"][0][0] == "no camera answers on the ribbon"
    assert found["cameras"]["v4l2"] == []  # neither the codec nor the ISP is a camera
    assert found["microphones"]["cards"] == []  # HDMI only plays
    assert problems["clock"] == [("the clock says 2001", "sudo timedatectl set-ntp true")]
    assert [what for what, _ in problems["throttling"]] == ["under-voltage at this moment", "throttled at this moment"]
    assert problems["groups"] == [
        ("pi may not use cameras and pins", "sudo usermod -aG video,gpio pi, then log in again")
    ]


def test_a_pc(seen):
    found, problems = seen(
        trees.pc,
        platform=Platform("x86_64", 64, (3, 12), "glibc", (2, 39)),
        groups=frozenset(("pi", "video", "audio")),
    )
    assert problems == {}
    assert found["board"]["model"] == "ThinkPad X1"
    assert found["cameras"]["v4l2"] == [{"device": "/dev/video0", "name": "HD Webcam C920"}]  # not its metadata node
    assert found["microphones"]["cards"][0]["rates_hz"] == [44100, 48000, 96000]  # what it plays at does not count
    assert found["clock"]["synchronized"] is None  # chrony keeps it
    assert found["throttling"]["flags"] is None
    assert found["governor"]["governor"] == "powersave"  # which intel_pstate makes dynamic


def test_a_machine_that_tells_nothing(seen):
    found, problems = seen(lambda root: root)
    assert problems == {}
    assert found["board"] == {"model": None, "cores": None, "memory_mb": None}
    assert found["clock"]["synchronized"] is None


@pytest.mark.parametrize(
    ("changes", "files", "about", "what", "remedy"),
    [
        (
            {"engine": Engine("tflite-runtime 2.14.0", "1.24", False), "platform": Platform("armv7l", 32, (3, 11))},
            {},
            None,
            "",
            "",
        ),
        (
            {"engine": Engine("ai-edge-litert 1.2", "2.1", False)},
            {},
            "engine",
            "the engine runs without XNNPACK, its fast kernels",
            "/home/pi/edgepress/bin/python -m pip install -U ai-edge-litert",
        ),
        (
            {"engine": Engine(error="none"), "platform": Platform("armv6l", 32, (3, 11))},
            {},
            "engine",
            "none",
            "none can be installed: there is no engine for ARMv6 (Pi Zero and Pi 1); what fits: a Pi Zero 2 W or newer",
        ),
        (
            {"modules": frozenset(("sounddevice",))},
            {},
            "cameras",
            "the ribbon's camera needs picamera2",
            "sudo apt install python3-picamera2",
        ),
        (
            {"modules": frozenset(("sounddevice",))},
            {"usr/lib/python3/dist-packages/picamera2/__init__.py": ""},
            "cameras",
            "picamera2 is installed, but not for this venv",
            "python3 -m venv --system-site-packages /home/pi/edgepress",
        ),
        (
            {"modules": frozenset(("picamera2",))},
            {},
            "microphones",
            "listening needs sounddevice",
            "/home/pi/edgepress/bin/python -m pip install 'edgepress-apps[mic]'",
        ),
        (
            {},
            {"sys/class/video4linux/video30/name": "USB Camera\n"},
            "cameras",
            "/dev/video30 is known to the kernel but missing in /dev",
            "sudo udevadm trigger",
        ),
        (
            {},
            {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n"},
            "governor",
            "the governor keeps the clock at its lowest",
            "echo ondemand | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor",
        ),
        (
            {},
            {"sys/devices/platform/soc/soc:firmware/get_throttled": "50000\n"},
            "throttling",
            "under-voltage since the start",
            "use the board's own supply",
        ),
        ({"groups": frozenset(("pi",)), "is_root": True}, {}, None, "", ""),
    ],
)
def test_one_trouble_at_a_time_on_a_pi_5(seen, changes, files, about, what, remedy):
    found, problems = seen(lambda root: trees.plant(trees.pi_5(root), files), **changes)
    if about is None:
        assert problems == {}
        return
    assert list(problems) == [about]
    assert problems[about][0][0] == what
    assert problems[about][0][1].startswith(remedy)
    assert found["ok"] is (not found["engine"]["error"])


def test_a_clock_that_nobody_sets(seen):
    def unset(root):
        trees.pi_5(root)
        (root / "run/systemd/timesync/synchronized").unlink()
        return root

    found, problems = seen(unset)
    assert found["clock"]["synchronized"] is False
    assert problems["clock"] == [("the clock is not synchronized", "sudo timedatectl set-ntp true; timedatectl status")]


@pytest.mark.parametrize(
    ("free_blocks", "flag", "what"),
    [(10_000, 0, "only 41 MB are free at "), (10**7, os.ST_RDONLY, "is mounted read-only")],
)
def test_a_full_and_a_read_only_card(seen, monkeypatch, free_blocks, flag, what):
    fields = namedtuple("fields", "f_bavail f_frsize f_flag")
    monkeypatch.setattr("edgepress_runtime.doctor.upkeep.os.statvfs", lambda place: fields(free_blocks, 4096, flag))
    found, problems = seen(trees.pi_5)
    assert what in problems["storage"][0][0]
    assert found["ok"] is True  # what is installed still runs


def test_a_store_of_somebody_else(seen, monkeypatch):
    monkeypatch.setattr("edgepress_runtime.doctor.upkeep.os.access", lambda place, mode: False)
    found, problems = seen(trees.pi_5)
    (what, remedy), = problems["storage"]  # fmt: skip
    assert what.startswith("pi may not write to ") and remedy.startswith("sudo install -d -o pi ")
    assert found["storage"]["writable"] is False


def test_every_subject_has_a_line_and_every_problem_its_mend(tmp_path):
    chapters = examine(trees.somebody(tmp_path, groups=frozenset()), trees.zero_2_w(tmp_path / "root"))
    text = lines(chapters)
    assert [line.split()[0] for line in text[: len(CHECKS)]] == list(CHECKS)
    rest = text[len(CHECKS) :]
    assert rest and len(rest) % 2 == 0
    assert all(line.startswith(("problem: ", "STOPS MODELS: ")) for line in rest[::2])
    assert all(line.startswith("        mend: ") and len(line) > 20 for line in rest[1::2])


# ---- this machine


def test_the_engine_of_this_python_runs_and_is_fast():
    found = engine_probe.probe()
    assert found.error is None
    assert found.name.startswith("ai-edge-litert ") and found.numpy and found.xnnpack is True


@pytest.mark.parametrize(
    ("module", "error"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "the engine crashes (SIGILL)"),
        (
            "raise ImportError('numpy.core.multiarray failed to import')",
            "ai-edge-litert is installed but does not load: ",
        ),
        ("raise SystemExit('gone')", "the engine does not load: gone"),
    ],
)
def test_an_engine_that_breaks_does_not_break_the_doctor(tmp_path, monkeypatch, module, error):
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert/__init__.py").write_text("")
    (tmp_path / "ai_edge_litert/interpreter.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = engine_probe.probe()
    assert found.error.startswith(error)
    assert found.xnnpack is None


def test_the_command(environment, tmp_path):
    command = [sys.executable, "-m", "edgepress_runtime", "doctor"]
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=False)
    value = json.loads(done.stdout)
    assert value.keys() == {"ok", "problems", *CHECKS}
    assert (value["ok"], done.returncode) == (True, 0)
    assert value["storage"]["path"] == environment["EDGEPRESS_ROOT"]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert text.stdout.startswith("board        ")


def test_the_command_where_no_model_can_run(environment, tmp_path):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy/__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')")
    paths = os.pathsep.join([str(tmp_path), environment["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "edgepress_runtime", "doctor"],
        env={**environment, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "STOPS MODELS: No module named 'numpy'\n        mend: " in done.stdout
