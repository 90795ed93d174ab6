"""The facts beside a measurement: when, on what, how busy, and how much memory this very process took."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone

import pytest

from edgepress_runtime import machine


@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_the_peak_is_not_that_of_the_process_that_started_this_one(environment):
    child = "from edgepress_runtime.machine import peak_rss_mb; print(peak_rss_mb())"
    parent = (
        "import subprocess, sys\n"
        "large = b'x' * 300_000_000\n"
        "subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)\n"
    )
    command = [sys.executable, "-c", parent, child]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert 1 < float(done.stdout) < 100


def test_the_peak_sees_what_was_freed_again(environment):
    code = "from edgepress_runtime.machine import peak_rss_mb; b'x' * 200_000_000; print(peak_rss_mb())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert 200 < float(done.stdout) < 300


def test_where_proc_does_not_tell_the_system_is_asked(tmp_path):
    assert machine.peak_rss_mb(tmp_path) == pytest.approx(machine.peak_rss_mb(), rel=0.5)


def test_the_date_is_now_in_utc():
    told = datetime.strptime(machine.describe()["date"], "%Y-%m-%dT%H:%M:%S%z")
    assert abs((datetime.now(timezone.utc) - told).total_seconds()) < 5


def test_the_load_is_a_number_or_unknown(monkeypatch):
    assert machine.load_1min() >= 0

    def fail():
        raise OSError("not counted here")

    monkeypatch.setattr(machine.os, "getloadavg", fail)
    assert machine.load_1min() is None
