"""`edgepress-device bench` as a real process: what is measured, against what, and whether it may be believed."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

KEYS = {
    "name", "digest", "model_bytes", "latency_ms", "first_ms", "load_ms", "peak_rss_mb", "overhead_ratio",
    "cpu_s_per_audio_s", "energy_mj", "power_source", "threads", "engine", "machine", "samples_ms",
}  # fmt: skip


@pytest.fixture
def device(environment, tmp_path):
    def run(*words):
        command = [sys.executable, "-m", "edgepress_runtime", "bench", *map(str, words)]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    return run


@pytest.fixture
def pets(make_bundle):
    make_bundle(file="pets.edge")
    make_bundle("float32", file="other.edge", name="other")
    return "pets.edge"


def test_every_key_and_why_it_is_not_valid(device, pets):
    done = device(pets, "--runs", 20, "--power", "none", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value.keys() >= KEYS
    assert value["valid"] is False
    assert "too short: 20 calls, and p99 needs at least 100" in value["reasons"]
    assert value["conditions"].keys() == {"before", "during", "after", "others_cores"}
    assert value["conditions"]["before"].keys() == value["conditions"]["after"].keys() >= {
        "cpu_mhz", "governor", "temperature_c", "throttled", "load_1min",
    }  # fmt: skip
    assert (value["energy_mj"], value["power_source"], value["energy"]["mj"]) == (None, None, None)
    assert value["energy"]["reason"] == "no meter was asked"
    assert value["engine_ms"]["n"] == 20
    assert (value["sweep"], value["against"]) == (None, None)
    told = device(pets, "--runs", 20, "--power", "none").stdout.splitlines()
    assert told[-1].startswith("INVALID  too short: 20 calls, and p99 needs at least 100; too short: ")
    assert told[3].endswith("energy: not measured: no meter was asked")


def test_seconds_beside_runs(device, pets):
    begin = time.monotonic()
    value = json.loads(device(pets, "--seconds", 1.5, "--power", "none", "--json").stdout)
    assert time.monotonic() - begin >= 1.5
    n = value["latency_ms"]["n"]
    assert n > 100
    assert len(value["samples_ms"]) == min(n, 10_000)
    assert len(value["conditions"]["during"]) >= 2


def test_a_sweep_and_a_comparison_in_one_go(device, pets):
    words = [
        pets,
        "--runs",
        15,
        "--threads",
        1,
        "--threads-sweep",
        "1,2,1",
        "--against",
        "other.edge",
        "--power",
        "none",
    ]
    value = json.loads(device(*words, "--json").stdout)
    assert [row["threads"] for row in value["sweep"]] == [1, 2]
    assert value["threads"] == 1
    against = value["against"]
    assert (against["name"], against["latency_ms"]["n"]) == ("other", 15)
    assert against["low"] <= against["ratio"] <= against["high"]
    told = device(*words).stdout
    assert "threads  2: p50 " in told and "against  other: pets takes " in told and " at 95 %, " in told


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        ("--power ina219", 1, "error: no power meter is called 'ina219'; found here: "),
        (
            "--power-csv log.csv",
            1,
            "error: log.csv does not name a time and a power in its first line\ntip: it needs a",
        ),
        (
            "--power-csv none.csv",
            1,
            "error: none.csv cannot be read: No such file or directory\ntip: give the logger's",
        ),
        ("--against none.edge", 1, "error: none.edge does not exist"),
        ("--seconds 0", 2, "'0' is not a number of seconds above 0, up to 86400"),
        ("--seconds soon", 2, "'soon' is not a number of seconds above 0"),
        ("--threads-sweep 1,x", 2, "argument --threads-sweep: 'x' is not a whole number from 1 to 256"),
    ],
)
def test_wrong_words(device, pets, tmp_path, words, code, sentence):
    (tmp_path / "log.csv").write_text("when,what\n1,2\n")
    done = device(pets, *words.split())
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
