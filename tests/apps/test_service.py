"""What the spotter tells systemd, over a real socket, and the unit that it ships, judged by systemd itself."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from edgepress_apps.service import Service


@pytest.fixture
def manager(tmp_path):
    """A listening manager: (its address, a function that gives what it heard)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(str(tmp_path / "notify"))
        inbox.setblocking(False)

        def heard():
            found = []
            while True:
                try:
                    found.append(inbox.recv(100).decode())
                except BlockingIOError:
                    return found

        yield str(tmp_path / "notify"), heard


def test_what_it_says_arrives(manager):
    address, heard = manager
    now = [0.0]
    service = Service({"NOTIFY_SOCKET": address}, clock=lambda: now[0])
    service.ready()
    for now[0] in (10.0, 10.5, 10.9, 11.1):
        service.alive()
    service.stopping()
    assert heard() == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]


def test_without_a_manager_nothing_happens(tmp_path):
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"NOTIFY_SOCKET": "@gone"}):
        service = Service(environment)
        service.ready()
        service.alive()


def test_abstract_names(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(f"\0{tmp_path}")
        Service({"NOTIFY_SOCKET": f"@{tmp_path}"}).ready()
        assert inbox.recv(100) == b"READY=1"


def printed_unit(environment=None):
    line = [sys.executable, "-m", "edgepress_apps.listen_cli", "--unit"]
    return subprocess.run(line, capture_output=True, text=True, check=True, env=environment).stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_finds_no_fault_in_the_unit_and_thinks_it_safe(tmp_path):
    text = printed_unit()
    # the programs need not be installed where the tests run
    unit = tmp_path / "edgepress-listen@.service"
    unit.write_text(re.sub(r"/\S*/edgepress-(listen|device)", "/bin/true", text))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert str(unit) not in done.stderr and done.returncode == 0, done.stderr
    line = ["systemd-analyze", "security", "--offline=true", str(unit)]
    scored = subprocess.run(line, capture_output=True, text=True, check=False).stdout
    score = re.search(r"exposure level for .*: ([0-9.]+)", scored)
    assert float(score[1]) <= 2.0, scored


def test_the_unit_names_the_programs_that_are_there(tmp_path):
    for name in ("edgepress-listen", "edgepress-device"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    text = printed_unit({**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})
    assert f"ExecStart={tmp_path}/edgepress-listen %i --json" in text
    assert f"ExecStartPre=+{tmp_path}/edgepress-device trial start %i" in text
