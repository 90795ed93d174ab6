"""`edgepress doctor HOST` over a real sshd: with `edgepress-device` there, with an old one, with nothing but `sh`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.convert import sshd
from tests.convert.conftest import edgepress

from edgepress_convert.doctor import diagnosis, examine
from edgepress_runtime.errors import EdgepressError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sshd")


@pytest.fixture(scope="module")
def host(root: Path):
    yield from sshd.served(root)


@pytest.fixture
def device(root: Path):
    """The board's `edgepress-device`, put back after the test."""
    path = root / "bin" / "edgepress-device"
    script = path.read_text()
    yield path
    path.write_text(script)
    path.chmod(0o755)


def test_a_board_examines_itself(host):
    found = examine(host)
    assert (found["host"], found["asked"], found["ok"]) == ("board", "edgepress-device", True)
    assert found["engine"]["name"].startswith("ai-edge-litert")
    assert found.keys() >= {"board", "cameras", "microphones", "storage", "problems"}


def test_a_board_where_models_cannot_run_is_still_told(host, device):
    device.write_text('#!/bin/sh\necho \'{"ok": false, "problems": [{"about": "engine", "what": "x"}]}\'\nexit 1\n')
    assert examine(host)["problems"][0]["what"] == "x"


def test_a_board_without_the_runtime(host, device):
    device.unlink()
    found = examine(host)
    assert (found["asked"], found["ok"]) == ("sh", False)
    (problem,) = found["problems"]
    assert (problem["about"], problem["what"], problem["stops"]) == (
        "engine",
        "edgepress-device is not installed",
        True,
    )
    assert problem["remedy"] == "edgepress flash X.edge board"
    assert found["system"]["machine"] and found["python"]["wheel"] == "ai-edge-litert"


def test_a_board_with_a_runtime_that_knows_no_doctor(host, device):
    device.write_text("#!/bin/sh\necho invalid choice >&2\nexit 2\n")
    (problem,) = examine(host)["problems"]
    assert problem["what"] == f"{device} is too old to examine its board"
    assert problem["remedy"] == f"ssh board rm {device} && edgepress flash X.edge board"


def test_a_board_that_answers_nonsense(host, device):
    device.write_text("#!/bin/sh\necho '{nonsense'\n")
    with pytest.raises(EdgepressError, match="board answered something else than a diagnosis"):
        examine(host)


BARE = {
    "machine": "aarch64", "kernel": "6.12.25", "model": "Raspberry Pi 4 Model B Rev 1.5", "bits": "32",
    "os": '"Raspbian GNU/Linux 12 (bookworm)"', "libc": "glibc 2.36", "python": "3.11 32", "device": "",
}  # fmt: skip


def test_32_bit_programs_below_a_64_bit_kernel_get_their_own_engine():
    found = diagnosis("pi@b", BARE)
    assert found["python"]["wheel"] == "tflite-runtime==2.14.0"
    assert found["system"]["name"] == "Raspbian GNU/Linux 12 (bookworm)"
    assert found["problems"][0]["remedy"] == "edgepress flash X.edge pi@b"


@pytest.mark.parametrize(
    ("changes", "what", "remedy"),
    [
        ({"python": ""}, "there is no Python 3", "ssh pi@b sudo apt install python3-venv"),
        (
            {"python": "3.13 32", "libc": "glibc 2.41"},
            "there is no engine for 32-bit Python 3.13; what fits: ",
            "write that",
        ),
        (
            {"python": "3.14 64", "libc": ""},
            "edgepress-runtime is for Python 3.9 to 3.13",
            "ssh pi@b python3.13 -m venv",
        ),
        ({"machine": "armv6l"}, "there is no engine for ARMv6", "write that system onto the card"),
        ({"python": "3.11 64"}, "edgepress-device is not installed", "edgepress flash X.edge pi@b"),
    ],
)
def test_what_bare_answers_mean(changes, what, remedy):
    (problem,) = diagnosis("pi@b", {**BARE, **changes})["problems"]
    assert problem["what"].startswith(what)
    assert problem["remedy"].startswith(remedy)
    assert problem["stops"] is True


def test_the_command(host):
    done = edgepress("doctor", "board", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["asked"] == "edgepress-device"
    told = edgepress("doctor", "board").stdout
    assert "ai-edge-litert" in told


def test_the_command_for_this_machine_and_for_nobody(host):
    assert json.loads(edgepress("doctor", "--json").stdout)["host"] == "this machine"
    done = edgepress("doctor", "off")
    assert done.returncode == 1
    assert done.stderr.startswith("error: off cannot be reached: ")
