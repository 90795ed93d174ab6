"""`edgepress bench --device HOST` over a real sshd."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.convert import sshd
from tests.convert.conftest import edgepress


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory):
    yield from sshd.served(tmp_path_factory.mktemp("sshd"))


def test_a_board_measures_and_keeps_nothing(host, bundle_file: Path):
    done = edgepress("bench", bundle_file, "--device", "board", "--runs", 12, "--threads", 1, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["latency_ms"]["n"], result["threads"]) == (12, 1)
    assert result["valid"] is False and result["reasons"][0].startswith("too short: 12 calls")
    told = edgepress("bench", bundle_file, "--device", "board", "--seconds", 0.3).stdout
    assert "valid" in told


def test_a_board_that_is_off(host, bundle_file: Path):
    done = edgepress("bench", bundle_file, "--device", "off")
    assert done.returncode == 1
    assert done.stderr.startswith("error: off cannot be reached: ")
