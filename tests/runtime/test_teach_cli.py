"""`teach`, `taught` and `forget`: exact sentences, exit codes, pure stdout, and what a real process loads."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.runtime import lessons

from edgepress_runtime.cli import main
from edgepress_runtime.store import Store


@pytest.fixture
def device(environment, tmp_path, monkeypatch, capsys):
    """Runs one command in `tmp_path`: device("teach", "x.edge", ...) -> its exit code and what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPRESS_ROOT", environment["EDGEPRESS_ROOT"])

    def run(*words):
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as ended:  # argparse ends so
            code = ended.code
        said = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=said.out, stderr=said.err)

    return run


@pytest.fixture
def photos(tmp_path):
    """Five white pictures to learn from, in photos/, and ten others in later/."""
    lessons.save(tmp_path / "later", "white", 10, seed=7)
    return lessons.save(tmp_path / "photos", "white", 5, seed=3)


@pytest.fixture
def bundle(tmp_path):
    return lessons.write(tmp_path / "colours.edge")


def answers(device, *words):
    done = device("run", *words, "--json")
    assert done.returncode == 0, done.stderr
    return [row["label"] for row in json.loads(done.stdout)["results"]], done.stderr


def test_the_life_of_a_class_in_the_store(device, bundle, photos, tmp_path):
    device("install", bundle)
    lessons.save(tmp_path / "red", "red", 10, seed=8)
    before, _ = answers(device, "colours", "later", "red")
    assert "white" not in before
    done = device("teach", "colours", "--name", "white", *photos, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["model"], said["label"], said["taught"]) == ("colours", "white", ["white"])
    assert said["new"] == {"files": 5, "found": 5}
    assert said["old"]["n"] == 36
    assert 35 <= said["old"]["right_after"] <= said["old"]["right_before"] <= 36
    assert (said["threshold"], said["skipped"]) == (None, [])
    found, complaints = answers(device, "colours", "later", "red")
    assert found[:10].count("white") >= 9
    assert found[10:].count("red") >= 9
    assert complaints == ""
    (row,) = json.loads(device("taught", "--json").stdout)["models"]
    assert [t["label"] for t in row["taught"]] == ["white"]
    assert row["overlay"] == said["overlay"]
    assert row["taught"][0]["found"] == 5
    again = device("teach", "colours", "--name", "white", "photos")
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith(
        "error: colours was taught 'white' already\ntip: edgepress-device forget colours --name"
    )
    assert device("forget", "colours", "--name", "white").stdout == "colours forgot white\n"
    assert answers(device, "colours", "later", "red")[0] == before
    assert "colours: 0 taught" in device("taught", "colours").stdout


def test_two_classes_are_independent_of_the_order_of_forgetting(device, bundle, photos, tmp_path):
    lessons.COLOURS["black"] = (30, 30, 30)
    lessons.save(tmp_path / "dark", "black", 5, seed=1)
    device("teach", bundle, "--name", "white", "photos")
    alone = (tmp_path / "colours.taught").read_bytes()
    assert device("teach", bundle, "dark", "--name", "black").returncode == 0
    found, _ = answers(device, bundle, "photos", "dark")
    assert found == ["white"] * 5 + ["black"] * 5
    device("forget", bundle, "--name", "black")
    with np.load(tmp_path / "colours.taught") as after:
        left = after["weights"]
    (tmp_path / "alone.taught").write_bytes(alone)
    with np.load(tmp_path / "alone.taught") as before:
        assert np.array_equal(left, before["weights"])
    del lessons.COLOURS["black"]


def test_a_file_is_taught_beside_it_or_where_out_says(device, bundle, photos, tmp_path):
    data = bundle.read_bytes()
    assert device("teach", bundle, "--name", "white", *photos, "--out", "deep/w.taught").returncode == 0
    assert "white" not in answers(device, bundle, "photos")[0]
    assert answers(device, bundle, "photos", "--overlay", "deep/w.taught")[0] == ["white"] * 5
    shutil.copy(tmp_path / "deep" / "w.taught", tmp_path / "colours.taught")
    assert answers(device, bundle, "photos")[0] == ["white"] * 5
    assert bundle.read_bytes() == data
    assert device("forget", bundle, "--name", "white").returncode == 0
    assert not (tmp_path / "colours.taught").exists()


def test_another_release_does_not_use_it_and_says_so(device, bundle, photos, tmp_path):
    device("install", bundle)
    device("teach", "--name", "white", "photos")  # the only installed model
    device("install", lessons.write(tmp_path / "newer.edge", seed=1, version=2))
    found, complaints = answers(device, "colours", "photos")
    assert "white" not in found
    assert complaints.startswith("not used: white was taught to another release (")
    assert device("rollback", "colours").returncode == 0
    assert answers(device, "colours", "photos") == (["white"] * 5, "")


def test_a_damaged_overlay_never_stops_a_board(device, bundle, photos, tmp_path, environment):
    device("install", bundle)
    device("teach", "colours", "--name", "white", "photos")
    (file,) = (Store(environment["EDGEPRESS_ROOT"]).root / "colours" / "taught").iterdir()
    file.write_bytes(file.read_bytes()[:-20])
    found, complaints = answers(device, "colours", "photos")
    assert len(found) == 5
    assert complaints.startswith("not used: what was taught is damaged: ")
    done = device("teach", "colours", "--name", "white", "photos")
    assert done.returncode == 1
    assert f"tip: remove {file}, and teach again" in done.stderr


CASES = {
    "one picture": (["--name", "w", "photos/white3-0.png"], 1, "a class is learnt from 3 pictures or more, not from 1"),
    "none": (["--name", "w", "empty"], 1, "a class is learnt from 3 pictures or more, not from 0"),
    "unreadable": (
        ["--name", "w", "photos/white3-0.png", "junk.png", "nowhere.png"],
        1,
        "a class is learnt from 3 pictures or more, not from 1, and 2 could not be used",
    ),
    "copies": (["--name", "w", "copies"], 1, "not from 1, and 2 could not be used"),
    "a name that exists": (["--name", "red", "photos"], 1, "colours knows 'red' already"),
    "an empty name": (["--name", " ", "photos"], 1, "the label ' ' is empty"),
    "a name with a line": (["--name", "a\nb", "photos"], 1, "holds control characters"),
    "two names": (["--name", "a", "--name", "b", "photos"], 2, "one class is taught at a time"),
    "a name and a word": (["--name", "a", "--word", "b", "photos"], 2, "one class is taught at a time"),
    "no name": (["photos"], 2, "give one class: --name NAME, or --word WORD"),
    "a word for pictures": (["--word", "a", "photos"], 2, "use --name a"),
    "an unknown option": (["--name", "a", "photos", "--nmae", "b"], 2, "unrecognized arguments: --nmae"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_a_sentence(device, bundle, photos, tmp_path, name):
    words, code, sentence = CASES[name]
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.png").write_bytes(b"junk")
    (tmp_path / "copies").mkdir()
    for number in range(3):
        shutil.copy(photos[0], tmp_path / "copies" / f"{number}.png")
    done = device("teach", bundle, *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr.splitlines()[-2 if code == 1 else -1]
    assert not (tmp_path / "colours.taught").exists()


def test_what_cannot_be_taught_says_how_it_could_be(device, make_bundle, photos):
    done = device("teach", make_bundle(), "--name", "white", "photos")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: pets was not made to be taught\n"
        "tip: make its bundle with: edgepress convert RUN --teachable --out X.edge\n"
    )


def test_forget_helps_with_a_mistyped_name(device, bundle, photos):
    assert "tip: nothing was" in device("forget", bundle, "--name", "white").stderr
    device("teach", bundle, "--name", "white", "photos")
    done = device("forget", bundle, "--name", "whte")
    assert (done.returncode, done.stderr) == (1, "error: colours was not taught 'whte'\ntip: did you mean 'white'?\n")


def test_for_people_it_says_what_was_found(device, bundle, photos, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "photos" / "note.gif")
    (tmp_path / "photos" / "z.png").write_bytes(b"junk")
    done = device("teach", bundle, "--name", "white", "photos")
    assert done.returncode == 0
    first, new, old = done.stdout.splitlines()[:3]
    assert first.startswith("colours knows white now, from 6 pictures (")
    assert new.startswith("new ")
    assert old.startswith("old      100.0 % right before, ")
    assert "skipped photos/z.png: z.png is not a picture" in done.stderr


def test_teaching_loads_numpy_litert_and_pillow_and_nothing_else(environment, bundle, photos, tmp_path):
    code = (
        "import sys; from edgepress_runtime.cli import main; code = main(sys.argv[1:]); "
        "print(*sorted(m for m in sys.modules if '.' not in m and m not in sys.stdlib_module_names)); sys.exit(code)"
    )
    words = ["teach", bundle, "--name", "white", *photos]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loaded = {m for m in done.stdout.splitlines()[-1].split() if not m.startswith("_")}
    assert loaded == {"numpy", "ai_edge_litert", "PIL", "edgepress_runtime"}
