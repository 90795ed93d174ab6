"""`edgepress-device` as people and scripts run it: real processes, exact sentences, exit codes, pure stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image
from tests.runtime import streams

from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.classify import Classifier
from edgepress_runtime.engine import open_engine
from edgepress_runtime.image import load_pixels


@pytest.fixture
def device(environment, tmp_path):
    """Runs one command in `tmp_path`: device("install", "x.edge") -> finished process."""

    def run(*words, **changes):
        command = [sys.executable, "-m", "edgepress_runtime", *map(str, words)]
        env = {**environment, **changes}
        return subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.JPG", "deep/c.bmp", ".hidden/d.png"):
        Image.fromarray(rng.integers(0, 256, (12, 9, 3), np.uint8)).save(folder / name)
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:60])
    (folder / "notes.txt").write_text("not a picture")
    (folder / "Thumbs.db").write_bytes(b"x")
    return folder


def test_the_life_of_two_releases(device, make_bundle):
    one = open_bundle(make_bundle(file="1.edge", seed=1)).digest
    two = open_bundle(make_bundle(file="2.edge", seed=2)).digest
    first = device("install", "1.edge", "--json")
    assert first.returncode == 0, first.stderr
    value = json.loads(first.stdout)
    assert value.pop("seconds") > 0
    selftest = {"cases": 4, "exact": 4}
    assert value == {"name": "pets", "installed": one, "previous": None, "selftest": selftest, "changed": True}
    second = json.loads(device("install", "2.edge", "--json").stdout)
    assert (second["installed"], second["previous"]) == (two, one)
    again = device("install", "2.edge")
    assert again.stdout.startswith(
        f"pets was installed already: {two[:12]}; 4 of 4 golden cases exact; before: {one[:12]}"
    )
    (model,) = json.loads(device("list", "--json").stdout)["models"]
    assert (model["name"], model["installed"], model["previous"], model["problem"]) == ("pets", two, one, None)
    back = json.loads(device("rollback", "--json").stdout)
    assert (back["installed"], back["previous"], back["selftest"]) == (one, two, selftest)
    assert "was rolled back already" in device("rollback", "pets").stdout
    assert one[:12] in device("list").stdout


def test_self_test_of_all_of_one_and_of_a_file(device, make_bundle):
    for name in ("cats", "dogs"):
        device("install", make_bundle(file=f"{name}.edge", name=name))
    everything = json.loads(device("selftest", "--json").stdout)
    assert [m["name"] for m in everything["models"]] == ["cats", "dogs"]
    assert (everything["cases"], everything["exact"]) == (8, 8)
    assert device("selftest", "dogs").stdout == "dogs: 4 of 4 golden cases exact\n"
    assert device("selftest", "cats.edge", EDGEPRESS_ROOT="/nowhere").stdout == "cats: 4 of 4 golden cases exact\n"


def wrong_golden(build, path, name="pets"):
    """A whole bundle whose model does not give its golden outputs."""
    import hashlib
    import io

    members = build.members_of("int8", name=name)
    golden = np.load(io.BytesIO(members["golden.npz"]))
    members["golden.npz"] = build.npz(inputs=golden["inputs"], outputs=np.zeros_like(golden["outputs"]))
    manifest = json.loads(members["manifest.json"])
    manifest["members"]["golden.npz"] = hashlib.sha256(members["golden.npz"]).hexdigest()
    path.write_bytes(build.zipped({**members, "manifest.json": json.dumps(manifest).encode()}))


def test_a_model_that_fails_its_self_test_is_not_installed(device, make_bundle, build, tmp_path):
    device("install", make_bundle())
    before = device("list", "--json").stdout
    wrong_golden(build, tmp_path / "wrong.edge")
    done = device("install", "wrong.edge")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: pets was not installed: 4 of 4 golden cases differ, the worst by ")
    assert device("list", "--json").stdout == before
    checked = device("selftest", "wrong.edge", "--json")
    assert checked.returncode == 1
    assert json.loads(checked.stdout)["models"][0]["ok"] is False


def test_run_on_files_and_folders(device, make_bundle, pictures):
    path = make_bundle("uint8")
    device("install", path)
    done = device("run", "pictures", "pictures/notes.txt", "--json", "--top", "2")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    found = {row["file"]: row for row in value["results"]}
    assert list(found) == ["pictures/a.png", "pictures/b.JPG", "pictures/deep/c.bmp"]
    assert [row["file"] for row in value["skipped"]] == ["pictures/broken.png", "pictures/notes.txt"]
    assert "skipped pictures/broken.png: broken.png " in done.stderr
    bundle = open_bundle(path)
    with open_engine(bundle.model) as engine:
        classifier = Classifier(engine, bundle.manifest)
        for file, row in found.items():
            pixels = load_pixels(pictures.parent / file, bundle.manifest.preprocessing)
            top = classifier.top(pixels, 2)
            assert row["top"] == [{"label": s.label, "score": s.score} for s in top]
            assert (row["label"], row["score"]) == (top[0].label, top[0].score)
            assert row["label"] == classifier.classify(pixels).label
    assert (value["model"], value["digest"]) == ("pets", bundle.digest)


def test_run_finds_its_model(device, make_bundle, pictures):
    device("install", make_bundle(file="1.edge", name="cats"))
    alone = device("run", "pictures/a.png")
    assert alone.returncode == 0
    file, label, score = alone.stdout.rstrip("\n").split("\t")
    assert file == "pictures/a.png" and label and 0 <= float(score) <= 1
    device("install", make_bundle(file="2.edge", name="dogs"))
    assert device("run", "cats", "pictures/a.png").stdout == alone.stdout
    assert device("run", "1.edge", "pictures/a.png").stdout == alone.stdout
    assert "2 models are installed: cats, dogs" in device("run", "pictures/a.png").stderr


def test_bench(device, make_bundle):
    done = device("bench", make_bundle(), "--runs", "20", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["latency_ms"].keys() == {"p50", "p90", "p99", "mean", "n"}
    assert len(value["samples_ms"]) == value["latency_ms"]["n"] == 20
    assert (
        min(value["samples_ms"]) <= value["latency_ms"]["p50"] <= value["latency_ms"]["p99"] <= max(value["samples_ms"])
    )
    assert value["latency_ms"]["p50"] == pytest.approx(float(np.median(value["samples_ms"])))
    assert value["first_ms"] > 0 and value["load_ms"] > 0 and value["peak_rss_mb"] > 10 and value["overhead_ratio"] > 0
    assert (value["energy_mj"], value["power_source"], value["threads"]) == (None, None, 1)
    assert {"cpu", "cores", "governor", "temperature_c", "python", "kernel", "board"} <= value["machine"].keys()
    assert {"date", "load_1min_before", "load_1min_after"} <= value["machine"].keys()
    assert all("of 20 runs" in line for line in done.stderr.splitlines())  # progress, where the machine is slow
    assert value["cpu_s_per_audio_s"] is None
    told = device("bench", "pets.edge", "--runs", "5").stdout
    assert "overhead" in told and "sound" not in told


# ---- keyword models


@pytest.fixture
def house(tmp_path):
    """`house.edge`, which hears a low tone as "computer" and a high one as "lights on"."""
    return streams.write_stream(tmp_path / "house.edge", model=streams.beep_stream("int8"))


@pytest.fixture
def recordings(tmp_path):
    folder = tmp_path / "recordings"
    folder.mkdir()
    quiet = streams.hiss(3)
    both = quiet.copy()
    both[16000:22400] += streams.tone(1100, 0.4)
    both[32000:38400] += streams.tone(4700, 0.4)
    for name, samples in (("both.wav", both), ("quiet.wav", quiet)):
        streams.write_wav(folder / name, samples)
    (folder / "broken.wav").write_bytes(b"RIFF")
    (folder / "notes.txt").write_text("not a recording")
    return folder


def test_a_keyword_model_is_installed_tested_and_rolled_back(device, house, tmp_path):
    streams.write_stream(tmp_path / "second.edge")
    assert json.loads(device("install", house, "--json").stdout)["selftest"] == {"cases": 6, "exact": 6}
    assert device("install", "second.edge").returncode == 0
    assert device("selftest").stdout == "house: 6 of 6 golden cases exact\n"
    assert "rolled back to" in device("rollback").stdout


def test_run_prints_what_was_heard_in_each_file(device, house, recordings):
    done = device("run", house, "recordings")
    assert done.returncode == 0, done.stderr
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in rows] == [
        ["recordings/both.wav", "computer"],
        ["recordings/both.wav", "lights on"],
        ["recordings/quiet.wav", "-"],
    ]
    assert all(0.6 <= float(row[2]) <= 1 and row[3].endswith(" s") for row in rows[:2])
    assert done.stderr.startswith("skipped recordings/broken.wav: broken.wav ")
    value = json.loads(device("run", house, "recordings", "--json").stdout)
    both, silent = value["results"]
    assert [d["label"] for d in both["detections"]] == ["computer", "lights on"]
    assert 1 < both["detections"][0]["end_s"] < 1.5 and both["detections"][0].keys() == {
        "label", "score", "start_s", "end_s",
    }  # fmt: skip
    assert (silent["detections"], silent["seconds"]) == ([], 3.0)
    assert [row["file"] for row in value["skipped"]] == ["recordings/broken.wav"]


def test_run_of_files_that_are_no_recordings(device, house, recordings):
    done = device("run", house, "recordings/notes.txt")
    assert (done.returncode, done.stdout) == (1, "")
    assert "skipped recordings/notes.txt: notes.txt" in done.stderr
    assert "error: no recording could be heard\ntip: give recording files, or folders that hold some" in done.stderr


def test_bench_of_a_keyword_model(device, house):
    done = device("bench", house, "--runs", "20", "--threads", "1", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["latency_ms"]["n"] == len(value["samples_ms"]) == 20
    assert 0 < value["cpu_s_per_audio_s"] < 1
    assert value["overhead_ratio"] > 0 and value["first_ms"] > 0
    by_default = device("bench", house, "--runs", "5").stdout
    assert "sound    0.0" in by_default
    assert by_default.splitlines()[0].endswith("threads 1")  # a step is too short to be shared


@pytest.mark.parametrize(
    ("words", "code", "sentences"),
    [
        ("list", 0, ()),
        ("install no.edge", 1, ("error: no.edge does not exist",)),
        (
            "install junk.edge",
            1,
            ("error: junk.edge is not an edgepress bundle", "tip: make one with: edgepress convert"),
        ),
        (
            "install newer.edge",
            1,
            ("error: this bundle has format 9; this runtime reads up to 1", "tip: update edgepress"),
        ),
        (
            "install cut.edge",
            1,
            ("error: cut.edge is truncated, or something was appended to it", "tip: copy it again"),
        ),
        ("install folder", 1, ("error: folder is a folder, not an edgepress bundle\ntip: give an X.edge file",)),
        ("install pipe.edge", 1, ("error: pipe.edge is not a plain file\ntip: give an X.edge file",)),
        ("install junk.edge/x.edge", 1, ("error: junk.edge/x.edge cannot be read: Not a directory",)),
        ("install pets.edge --delegate libc.so.6", 1, ("error: 'libc.so.6' is not an external delegate of LiteRT",)),
        ("list --root file", 1, ("/file cannot be read: Not a directory",)),
        ("selftest file", 1, ("error: file is neither an installed model nor an X.edge bundle\ntip: make a bundle",)),
        ("bench folder", 1, ("error: folder is neither an installed model nor an X.edge bundle",)),
        ("run pets.edge pipe.edge", 1, ("skipped pipe.edge: pipe.edge is not a plain file", "error: no picture")),
        ("run pets.edge /dev/zero", 1, ("skipped /dev/zero: zero is not a plain file", "error: no picture")),
        ("run pets.edge folder", 1, ("error: no picture could be classified",)),
        ("bench pets.edge --threads 257", 2, ("'257' is not a whole number from 1 to 256",)),
        ("bench pets.edge --runs 99999999999999999999", 2, ("is not a whole number from 1 to 2147483647",)),
        ("install pets.edge --keep -1", 2, ("'-1' is not a whole number from 1 to",)),
        ("install pets.edge --root file", 1, ("/file is a file, not a folder\ntip: give another folder",)),
        (
            "install pets.edge --delegate edgetpu",
            1,
            ("error: the delegate 'edgetpu' cannot be loaded", "tip: install it from"),
        ),
        ("rollback", 1, ("error: no model is installed in ", "tip: install one with: edgepress-device install X.edge")),
        ("rollback pets", 1, ("error: no model named 'pets' is installed", "tip: no model is installed")),
        ("selftest", 1, ("error: no model is installed in ",)),
        ("selftest no.edge", 1, ("error: no.edge does not exist",)),
        ("run pets.edge junk.edge", 1, ("skipped junk.edge: junk.edge is not a picture", "error: no picture could be")),
        (
            "run pets.edge nothing.png",
            1,
            ("skipped nothing.png: nothing.png does not exist", "tip: give picture files"),
        ),
        ("run pets.edge", 2, ("error: no files were given; for example: edgepress-device run",)),
        ("run dgos a.png", 1, ("error: no model named 'dgos' is installed",)),
        ("", 2, ("the following arguments are required: COMMAND",)),
        ("fly", 2, ("invalid choice: 'fly'",)),
        ("install", 2, ("the following arguments are required: X.edge",)),
        ("bench pets.edge --threads 0", 2, ("argument --threads: '0' is not a whole number from 1 to",)),
        ("bench pets.edge --runs many", 2, ("argument --runs: 'many' is not a whole number from 1 to",)),
        ("list --colour", 2, ("unrecognized arguments: --colour",)),
    ],
)
def test_sentences_and_exit_codes(device, make_bundle, build, tmp_path, words, code, sentences):
    data = make_bundle().read_bytes()
    (tmp_path / "junk.edge").write_bytes(b"hello")
    (tmp_path / "cut.edge").write_bytes(data[:-100])
    (tmp_path / "newer.edge").write_bytes(build.zipped(build.members_of(format=9)))
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.edge")
    done = device(*words.split())
    assert done.returncode == code, done.stderr
    for sentence in sentences:
        assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    if code:
        assert done.stdout == ""
        assert not list((tmp_path / "store").glob("pets/active"))


def test_names_that_are_no_text_and_have_line_breaks(device, make_bundle, tmp_path):
    make_bundle()
    folder = os.fsdecode(b"caf\xe9\nbar")
    (tmp_path / folder).mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / folder / "a b.png")
    assert device("install", "pets.edge", "--root", folder).returncode == 0
    (model,) = json.loads(device("list", "--root", folder, "--json").stdout)["models"]
    assert model["problem"] is None
    done = device("run", "pets.edge", folder)
    assert done.stdout.startswith("caf\\udce9\\nbar/a b.png\t") and done.stdout.count("\n") == 1
    (row,) = json.loads(device("run", "pets.edge", folder, "--json").stdout)["results"]
    assert row["file"] == f"{folder}/a b.png"
    lost = device("run", "pets.edge", f"{folder}/gone.png")
    assert lost.stderr.startswith("skipped caf\\udce9\\nbar/gone.png: gone.png does not exist\n")


def test_near_matches(device, make_bundle):
    device("install", make_bundle(name="front-door"))
    done = device("rollback", "frontdoor")
    assert done.stderr == "error: no model named 'frontdoor' is installed\ntip: did you mean 'front-door'?\n"


def test_debug_shows_the_traceback(device):
    done = device("install", "no.edge", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "BundleError" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_a_root_that_this_user_may_not_write(environment, make_bundle, tmp_path):
    """As `nobody`, on a store that belongs to root."""
    make_bundle()
    code = (
        "import fcntl, os, sys\n"
        "from edgepress_runtime.errors import StoreError\n"
        "from edgepress_runtime.bundle import open_bundle\n"
        "from edgepress_runtime.selftest import SelfTest\n"
        "from edgepress_runtime.store import Store\n"
        "bundle = open_bundle('pets.edge')\n"
        "os.setuid(65534)\n"
        "try: Store('/var/lib/edgepress-of-root').install(bundle, lambda b: SelfTest(1, 1, 0.0))\n"
        "except StoreError as error: print(error.what, error.remedy, sep='\\n')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "/var/lib/edgepress-of-root may not be written by this user",
        "choose a folder of your own, or use sudo",
    ]


@pytest.mark.parametrize("command", ["", "install", "list", "rollback", "selftest", "run", "bench", "doctor"])
def test_help_has_an_example_and_loads_no_numpy(environment, command):
    code = (
        "import sys\n"
        "from edgepress_runtime.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as done: code = done.code\n"
        "heavy = {'numpy', 'PIL', 'ai_edge_litert', 'zipfile', 'importlib.metadata'} & set(sys.modules)\n"
        "sys.exit(code or bool(heavy))\n"
    )
    words = [sys.executable, "-c", code, *command.split(), "--help"]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"edgepress-device {command}".strip() in done.stdout
    assert "for example:" in done.stdout


def test_interrupt_ends_with_130_and_no_traceback(environment, make_bundle, tmp_path):
    make_bundle()
    command = [sys.executable, "-m", "edgepress_runtime", "bench", "pets.edge", "--runs", "100000000"]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            for line in process.stderr:
                if b"runs" in line:  # progress appears after a second, so the measurement is under way
                    break
            process.send_signal(signal.SIGINT)
            out, complaint = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in complaint


def test_a_reader_that_goes_away(environment, make_bundle, pictures, tmp_path):
    make_bundle()
    command = f"{sys.executable} -m edgepress_runtime run pets.edge {'pictures ' * 50} | head -1"
    begin = time.monotonic()
    done = subprocess.run(
        ["sh", "-c", command], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert len(done.stdout.splitlines()) == 1
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr
    assert time.monotonic() - begin < 30
