"""The command as people and scripts meet it: real processes, exact sentences, exit codes, and what gets imported."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.convert.conftest import edgepress

from edgepress_convert.cli import boundary, options
from edgepress_runtime.errors import EdgepressError

COMMANDS = (
    ("train", "image"),
    ("compress",),
    ("search",),
    ("convert",),
    ("evaluate",),
    ("inspect",),
    ("bench",),
    ("report",),
    ("demo",),
)
HEAVY = ("tensorflow", "tf_keras", "keras", "numpy", "ai_edge_litert", "PIL")


def imported(code: str, *watched: str) -> list[str]:
    """Which of `watched` are in sys.modules after `code`, in a fresh process."""
    program = f"import sys\n{code}\nprint('loaded', *[m for m in {watched!r} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


RUN = """
from edgepress_convert.cli import app, boundary
import typer
command = typer.main.get_command(app.app)
for words in {words!r}:
    code = boundary.guarded(lambda rest: command.main(rest, "edgepress", standalone_mode=False), words)
    assert code == 0, code
"""


def test_every_help_has_an_example_and_loads_nothing_heavy() -> None:
    words = [["--help"], *([*command, "--help"] for command in (("train",), *COMMANDS))]
    assert imported(RUN.format(words=words), *HEAVY) == []
    for command in COMMANDS[:2]:
        assert "for example: edgepress " + " ".join(command) in edgepress(*command, "--help").stdout


def test_inspect_and_bench_never_load_tensorflow(bundle_file: Path) -> None:
    words = [["inspect", str(bundle_file)], ["inspect", str(bundle_file), "--json"]]
    words += [["bench", str(bundle_file), "--runs", "3"]]
    assert imported(RUN.format(words=words), "tensorflow", "tf_keras", "keras") == []


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        (["convrt"], "No such command 'convrt'. Did you mean 'convert'?", 2),
        (["train", "imgae"], "No such command 'imgae'. Did you mean 'image'?", 2),
        (["inspect"], "Missing argument 'X.edge|x.tflite'.", 2),
        (["bench", "x.edge", "--runs", "none"], None, 2),
        (["bench", "x.edge", "--rnus", "3"], "No such option: --rnus", 2),
        (["convert", "r", "--out", "x.edge", "--mean", "a,b"], None, 2),
        (["inspect", "gone.tflite"], "gone.tflite does not exist", 1),
        (["inspect", "."], ". is a folder, not an edgepress bundle", 1),
        (["inspect", "/dev/null"], "/dev/null is not a plain file", 1),
        (["inspect", "two\nlines.edge"], "two\\nlines.edge does not exist", 1),
        (["bench", "text.tflite"], "text.tflite is not an X.edge bundle", 1),
        (["bench", "gone"], "gone does not exist", 1),
        (["bench", "x.edge", "--threads", "257"], None, 2),
        (["bench", "x.edge", "--runs", "0"], None, 2),
        (["report", "/dev/null", "--out", "r.html"], "/dev/null is not a plain file", 1),
        (["report", "text.edge", "--out", "."], ". is a folder", 1),
        (["convert", "r", "--out", "x.edge", "--seed", "-1"], None, 2),
        (["convert", "r", "--out", "x.edge", "--max-drop", "nan"], None, 2),
        (["train", "image", "--data", "d", "--out", "r", "--lr", "nan"], "--lr nan is outside", 1),
        (["train", "image", "--data", "d", "--out", "r", "--size", "0"], None, 2),
        (["demo", "--out", "text.edge"], None, 1),
        (["inspect", "gone.edge"], "gone.edge does not exist", 1),
        (["inspect", "text.tflite"], "text.tflite is not a TensorFlow Lite model", 1),
        (["inspect", "text.edge"], "text.edge is not an edgepress bundle", 1),
        (["bench", "text.edge"], "text.edge is not an edgepress bundle", 1),
        (["evaluate", "gone.edge", "--data", "x"], "gone.edge does not exist", 1),
        (["evaluate", "gone.edge"], "Invalid value: give --data, or for a keyword spotter --positives", 2),
        (["evaluate", "gone.edge", "--data", "x", "--negatives", "y"], "Invalid value: give --data, or for a", 2),
        (["evaluate", "gone.edge", "--positives", "x", "--noise", "white"], "Invalid value: --noise and --snr go", 2),
        (["evaluate", "gone.edge", "--positives", "x"], "gone.edge does not exist", 1),
        (["convert", "gone", "--out", "x.edge", "--smoothing-ms", "-1"], None, 2),
        (["convert", "gone", "--out", "x.edge"], "gone does not exist", 1),
        (["convert", "gone", "--out", "x"], "x should end in .edge", 1),
        (["convert", "gone", "--out", "text.edge"], "text.edge exists already", 1),
        (
            ["convert", "gone", "--out", "x.edge", "--quantize", "int9"],
            "unknown quantization 'int9'; did you mean 'int8'?",
            1,
        ),
        (
            ["convert", "gone", "--out", "x.edge", "--name", "a/b"],
            "'a/b' cannot be a bundle's name, since boards use it as a folder's",
            1,
        ),
        (["convert", "text.onnx", "--out", "x.edge"], "text.onnx is of no kind that edgepress converts", 1),
        (["report", "r", "--out", "text.edge"], "text.edge exists already", 1),
        (
            ["train", "image", "--data", "d", "--out", "r", "--recipe", "cifer10"],
            "unknown recipe 'cifer10'; did you mean 'cifar10'?",
            1,
        ),
    ],
)
def test_bad_input(words: list[str], sentence: str | None, code: int, tmp_path: Path) -> None:
    for name in ("text.tflite", "text.edge", "text.onnx"):
        (tmp_path / name).write_text("hello, this is no model at all")
    before = sorted(path.name for path in tmp_path.iterdir())
    done = edgepress(*words, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith(("error: ", "tip: "))]
    assert lines[0].startswith("error: ")
    assert sentence is None or lines[0].startswith(f"error: {sentence}")
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path) -> None:
    for words in (["--debug", "inspect", "gone.edge"], ["inspect", "gone.edge", "--debug"]):
        done = edgepress(*words, cwd=tmp_path)
        assert done.returncode == 1
        assert "Traceback" in done.stderr
        assert "error: gone.edge does not exist" in done.stderr


def test_json_is_one_object_on_stdout(bundle_file: Path) -> None:
    done = edgepress("inspect", bundle_file, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout)["output"]["shape"] == [1, 3]
    shown = edgepress("inspect", bundle_file)
    assert "DEPTHWISE_CONV_2D" in shown.stdout
    assert shown.returncode == 0


def test_an_interrupt_ends_the_measurement_with_130(bundle_file: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    words = ["bench", str(bundle_file), "--runs", "1000000000"]
    command = [sys.executable, "-m", "edgepress_convert.cli.app", *words]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    ) as process:
        watchdog = threading.Timer(120, os.killpg, (process.pid, signal.SIGKILL))  # the child too, should it live on
        watchdog.start()
        for line in process.stderr:
            if " runs" in line:  # the first sign of progress
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()  # ends only when the measuring child is gone too
        watchdog.cancel()
    assert process.returncode == 130
    assert rest.endswith("error: interrupted\n")


def test_convert_and_evaluate_as_commands(run_folder: Path, colours: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.edge"
    done = edgepress("convert", run_folder, "--out", out, "--quantize", "int8", "--name", "mine", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told.keys() >= {"bundle", "quantize", "bytes", "parity", "model", "recipe"}
    assert (told["name"], told["quantize"]) == ("mine", "int8")
    done = edgepress("evaluate", out, "--data", colours, "--json")
    assert done.returncode == 0, done.stderr
    judged = json.loads(done.stdout)
    assert judged.keys() >= {"n", "top1", "top5", "per_class", "confusion", "model_bytes"}
    assert judged["n"] == 30


def test_a_spotter_is_converted_and_shown(speech_run: Path, tmp_path: Path) -> None:
    done = edgepress("convert", speech_run, "--out", tmp_path / "x.edge", "--false-alarms-per-hour", "2")
    assert done.returncode == 0, done.stderr
    assert "2 frames a step" in done.stdout
    assert "validation sound (wanted: at most 2 an hour)" in done.stdout
    assert "so little sound cannot show 2 an hour" in done.stdout
    assert "ping           threshold" in done.stdout


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (EdgepressError("it broke", "mend it"), 1, "error: it broke\ntip: mend it\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (ValueError("odd\nvalue"), 1, "error: edgepress has a bug here: ValueError: odd value\ntip: run it again with"),
    ],
)
def test_every_failure_becomes_a_sentence(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(words: list[str]) -> None:
        raise error

    assert boundary.guarded(fail, ["x"]) == code
    assert capsys.readouterr().err.startswith(told)


def test_unset_flags_leave_a_recipe_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from edgepress_convert.cli import train as command
    from edgepress_train import train_image
    from edgepress_train.config import RECIPES, TrainConfig, from_recipe

    asked: list[TrainConfig] = []

    def spy(config: TrainConfig, **_: object) -> None:
        asked.append(config)
        raise EdgepressError("enough")

    monkeypatch.setattr(train_image, "train", spy)
    for recipe in RECIPES:
        with pytest.raises(EdgepressError, match="enough"):
            command.image(data="d", out=tmp_path, recipe=recipe)
        assert asked.pop() == from_recipe(recipe, data="d", out=tmp_path)
    with pytest.raises(EdgepressError, match="enough"):
        command.image(data="d", out=tmp_path, recipe="cifar10", size="8x16", grey=True, epochs=3)
    expected = from_recipe("cifar10", data="d", out=tmp_path, size=(8, 16), channels=1, epochs=3)
    assert asked.pop() == expected
    with pytest.raises(EdgepressError, match="enough"):
        command.image(data="d", out=tmp_path)
    assert asked.pop() == TrainConfig(data="d", out=tmp_path)


def test_every_setting_of_a_training_has_its_flag() -> None:
    import dataclasses
    import inspect

    from edgepress_convert.cli import train as command
    from edgepress_train.config import TrainConfig

    flags = set(inspect.signature(command.image).parameters)
    assert {field.name for field in dataclasses.fields(TrainConfig)} - flags == {"channels"}  # --grey


def test_sizes_and_numbers() -> None:
    assert (options.size("96"), options.size("96x128"), options.size(None)) == ((96, 96), (96, 128), None)
    assert options.numbers("1,2.5", "--mean") == (1.0, 2.5)
    for text in ("", "x", "0", "96x", "1x2x3", "-5"):
        with pytest.raises(Exception, match="is no size"):
            options.size(text)


@pytest.mark.parametrize(
    ("text", "size"), [("60kB", 60_000), ("60000", 60_000), ("1.5MB", 1_500_000), ("64KiB", 65_536), (" 8 k ", 8_000)]
)
def test_budgets_in_bytes(text: str, size: int) -> None:
    assert options.bytes_of(text) == size


def test_budgets_in_time_and_nonsense() -> None:
    assert [options.milliseconds(t) for t in ("5ms", "800us", "0.1s", "5")] == [5.0, pytest.approx(0.8), 100.0, 5.0]
    assert (options.bytes_of(None), options.milliseconds(None)) == (None, None)
    for text in ("", "x", "-5kB", "0", "5 parsecs", "60 GB"):
        with pytest.raises(Exception, match="is no size"):
            options.bytes_of(text)
        with pytest.raises(Exception, match="is no time"):
            options.milliseconds(text)
