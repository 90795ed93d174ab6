"""The board's own code on emulated boards: bit for bit what the host says, from the self-test to the apps."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from tests.convert.conftest import pack, picture, say

pytestmark = pytest.mark.slow


def here(*words: object, module: str = "edgepress_runtime") -> str:
    return subprocess.run(
        [sys.executable, "-m", module, *map(str, words)], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("scheme", ["int8", "float32", "dynamic"])
def test_pictures_bundles_pass_their_self_test(board, made, tmp_path, scheme):
    if scheme == "dynamic" and board.kind.arch == "armhf":
        pytest.skip("hybrid kernels add in another order there")
    path = tmp_path / "x.edge"
    pack(path, made[scheme])
    told = board.device("selftest", path)["models"][0]
    assert told["ok"] and told["exact"] == told["cases"] > 0


def test_a_spotter_passes_its_self_test(board, spotter_file):
    told = board.device("selftest", spotter_file)["models"][0]
    assert told["ok"] and told["exact"] == told["cases"] > 0


def test_the_fast_kernels_are_on_where_there_are_some(board, bundle_file):
    done = board.python("-m", "edgepress_runtime", "selftest", bundle_file, "--debug")
    assert ("XNNPACK delegate" in done.stderr) == (board.kind.arch == "arm64")


def test_install_run_and_roll_back(board, bundle_file, made, tmp_path):
    from PIL import Image

    root, photos = tmp_path / "store", tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(5)
    for number in range(6):
        Image.fromarray(picture(rng, number % 3, (40, 30))).save(photos / f"{number}.png")
    done = board.device("install", bundle_file, "--root", root)
    assert done["selftest"]["exact"] == done["selftest"]["cases"]
    theirs = board.device("run", "colours", photos, "--root", root)["results"]
    ours = json.loads(here("run", bundle_file, photos, "--json"))["results"]
    keys = ("file", "label", "score")
    assert [{k: row[k] for k in keys} for row in theirs] == [{k: row[k] for k in keys} for row in ours]
    other = tmp_path / "other.edge"
    pack(other, made["float32"], name="colours")
    assert board.device("install", other, "--root", root)["previous"] == done["installed"]
    assert board.device("rollback", "colours", "--root", root)["installed"] == done["installed"]


def test_a_spotter_listens_to_recordings(board, spotter_file, tmp_path):
    clips = say(tmp_path / "said", {"ping": 3, "pong": 3}, seed=4)
    files = sorted(clips.rglob("*.wav"))
    line = ("-m", "edgepress_apps.listen_cli", spotter_file, "--json", "--wav", *files)
    theirs = [json.loads(row) for row in board.python(*line).stdout.splitlines()]
    told = here(spotter_file, "--json", "--wav", *files, module="edgepress_apps.listen_cli")
    ours = [json.loads(row) for row in told.splitlines()]
    assert [(r["origin"], r["label"]) for r in theirs] == [(r["origin"], r["label"]) for r in ours]
    assert len(ours) >= 4
    assert np.allclose([r["score"] for r in theirs], [r["score"] for r in ours], atol=2 / 256)


def test_the_doctor_knows_the_board_and_its_engine(board):
    """It tries the engine in a process of its own, which QEMU's user mode cannot start; the rest must be right."""
    told = json.loads(board.python("-m", "edgepress_runtime", "doctor", "--json", ok=False).stdout)
    assert told["python"]["bits"] == board.kind.platform.bits
    assert told["python"]["wheel"].startswith("tflite-runtime" if board.kind.arch == "armhf" else "ai-edge-litert")
    assert not [p for p in told["problems"] if p["stops"] and p["about"] != "engine"], told["problems"]
