"""`edgepress voices` as real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

ENGINES = ["kokoro", "piper", "pico", "hibari", "flite", "festival", "espeak"]


@pytest.fixture
def edgepress(tmp_path):
    def run(*words: str):
        environment = {**os.environ, "EDGEPRESS_CACHE": str(tmp_path / "cache")}
        command = [sys.executable, "-m", "edgepress_convert.cli.app", "voices", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    return run


def test_the_list_names_every_engine_once(edgepress):
    done = edgepress("list", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    named = [item["engine"] for item in told["engines"]] + [item["engine"] for item in told["missing"]]
    assert sorted(named) == sorted(ENGINES)
    assert all(item["voices"] and item["speakers"] <= len(item["voices"]) for item in told["engines"])
    assert all(item["reason"] and item["remedy"] for item in told["missing"])
    drawn = edgepress("list")
    assert drawn.returncode == 0 and all(item["engine"] in drawn.stdout for item in told["engines"])


def test_a_file_of_styles_is_added(edgepress, tmp_path):
    path = tmp_path / "af_anna.npy"
    np.save(path, np.ones((510, 256), np.float32))
    done = edgepress("add", str(path), "--json")
    assert done.returncode == 0 and json.loads(done.stdout) == {"added": ["af_anna"]}
    assert (tmp_path / "cache" / "voices" / "kokoro" / "af_anna.bin").stat().st_size == 522240


@pytest.mark.parametrize(
    ("what", "sentence", "tip"),
    [
        ("kokoro", "there is neither a voice file nor a collection called 'kokoro'", "kokoro-speakers, or a path"),
        ("{folder}/bad.bin", "holds no Kokoro style", "510 x 256 float32 numbers"),
        ("{folder}/talk.mp3", "is no voice file", "known: .onnx (Piper)"),
    ],
)
def test_what_cannot_be_added_is_told_in_one_sentence(edgepress, tmp_path, what, sentence, tip):
    for name in ("bad.bin", "talk.mp3"):
        (tmp_path / name).write_bytes(b"abcd")
    done = edgepress("add", what.format(folder=tmp_path))
    assert done.returncode == 1 and done.stdout == ""
    first, second = done.stderr.strip().splitlines()
    assert sentence in first and second.startswith("tip:") and tip in second


def test_wrong_usage_is_2(edgepress):
    assert edgepress("add").returncode == 2
    assert edgepress("lists").returncode == 2


def test_the_list_loads_no_tensorflow():
    script = (
        "import sys\n"
        "from edgepress_convert.cli.app import main\n"
        "sys.argv = ['edgepress', 'voices', 'list', '--json']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'tensorflow', 'tf_keras'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
