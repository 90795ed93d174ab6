import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.runtime import lessons

import edgepress_apps
import edgepress_runtime


@pytest.fixture
def camera(tmp_path):
    """Runs the command as a real process with an empty model store."""
    source = [str(Path(package.__file__).parent.parent) for package in (edgepress_apps, edgepress_runtime)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(source), "EDGEPRESS_ROOT": str(tmp_path / "store")}

    def run(*words, module="edgepress_apps.camera_cli"):
        command = [sys.executable, "-m", module, *map(str, words)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def test_one_line_a_frame(camera, bright_bundle, album):
    done = camera(bright_bundle, "--source", album, "--top", 2)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert done.returncode == 0
    assert [Path(row[0]).name for row in rows] == ["1-dusk.png", "3-noon.png", "4-midnight.png"]
    assert [row[2] for row in rows] == [
        "dark 1.000, bright 0.000",
        "bright 1.000, dark 0.000",
        "dark 1.000, bright 0.000",
    ]
    assert all(row[1].endswith(" ms") and float(row[1][:-3]) > 0 for row in rows)
    assert "skipped" in done.stderr
    assert "2-broken.png" in done.stderr


def test_json_is_one_object_a_line(camera, bright_bundle, album):
    done = camera(bright_bundle, "--source", album / "3-noon.png", "--json", "--threads", 1)
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (row["seq"], row["label"], row["origin"]) == (0, "bright", str(album / "3-noon.png"))
    assert row["top"] == [{"label": "bright", "score": row["score"]}]
    assert row["latency_ms"] > 0


def test_an_installed_model_is_found_by_its_name_and_without(camera, bright_bundle, album):
    assert camera("install", bright_bundle, module="edgepress_runtime").returncode == 0
    named = camera("light", "--source", album / "3-noon.png", "--json")
    alone = camera("--source", album / "3-noon.png", "--json")
    assert json.loads(named.stdout)["label"] == json.loads(alone.stdout)["label"] == "bright"


def test_a_class_that_was_taught_is_seen(camera, tmp_path):
    bundle = lessons.write(tmp_path / "colours.edge")
    photos = lessons.save(tmp_path / "photos", "white", 5, seed=3)
    taught = camera("teach", bundle, "--name", "white", *photos, module="edgepress_runtime")
    assert taught.returncode == 0, taught.stderr
    done = camera(bundle, "--source", lessons.save(tmp_path, "white", 1, seed=9)[0], "--json")
    assert (json.loads(done.stdout)["label"], done.stderr) == ("white", "")


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        (["nothing.edge", "--source", "ALBUM"], "error: nothing.edge does not exist", 1),
        (["light", "--source", "ALBUM"], "error: no model named 'light' is installed", 1),
        (["BUNDLE", "--source", "nowhere"], "error: nowhere does not exist", 1),
        (["BUNDLE", "--source", "ALBUM/2-broken.png"], "error: no frame of ALBUM/2-broken.png could be read", 1),
        (["BUNDLE"], "the following arguments are required: --source", 2),
        (["BUNDLE", "--source", "ALBUM", "--top", "0"], "'0' is not a whole number from 1 to", 2),
    ],
)
def test_bad_input_is_one_sentence(camera, bright_bundle, album, words, sentence, code):
    def filled(text):
        return text.replace("BUNDLE", str(bright_bundle)).replace("ALBUM", str(album))

    done = camera(*map(filled, words))
    assert done.returncode == code
    assert filled(sentence) in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_reader_that_leaves_early_is_no_error(camera, bright_bundle, album):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "edgepress_apps.camera_cli", str(bright_bundle), "--source", str(album)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        running.stdout.close()
        complaints = running.stderr.read()
    assert "Traceback" not in complaints
    assert "error" not in complaints


def test_help_has_an_example_and_loads_no_engine(camera):
    done = camera("--help")
    assert done.returncode == 0
    assert "edgepress-camera cats --source pictures/" in done.stdout
    probe = "import sys, edgepress_apps.camera_cli; print('numpy' in sys.modules, 'ai_edge_litert' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout.split() == ["False"] * 2
