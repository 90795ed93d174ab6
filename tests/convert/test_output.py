"""Progress on stderr: calm in a log, one bar on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.progress import Progress

from edgepress_convert.cli.output import _Bar, _Lines


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def log(capsys):
    """log(seconds, stage, ...) calls the progress at that time since its beginning and gives what it printed."""
    clock = Clock()
    lines = _Lines(clock)

    def call(at: float, stage: str, done: int = 1, total: int = 9, note: str = "") -> str:
        clock.now = 100.0 + at
        lines(stage, done, total, note)
        return capsys.readouterr().err

    return call


def test_the_first_second_is_quiet(log) -> None:
    assert log(0.0, "decode") == log(0.9, "train") == ""


def test_each_new_stage_has_a_line_and_then_one_every_ten_seconds(log) -> None:
    assert log(0.5, "decode") == ""
    assert log(1.5, "decode", 3) == "decode 3/9\n"
    assert log(1.6, "decode", 4) == ""
    assert log(2.0, "train", 1, 9, "epoch 1/3") == "train 1/9 epoch 1/3\n"
    assert log(11.9, "train", 2) == ""
    assert log(12.0, "train", 3) == "train 3/9\n"
    assert log(12.1, "decode", 1) == ""  # it has had its line
    assert log(22.1, "decode", 2) == "decode 2/9\n"


def test_a_note_that_is_no_plain_text_stays_one_line(log) -> None:
    assert log(2.0, "train", 1, 2, "a\nb") == "train 1/2 a\\nb\n"


def test_one_bar_at_a_time_that_begins_anew_with_its_stage() -> None:
    with Progress(console=Console(file=io.StringIO())) as bars:
        show = _Bar(bars)
        show("decode", 5, 10, "")
        show("decode", 10, 10, "")
        (first,) = bars.tasks
        show("train", 1, 30, "epoch 1/3 [bold]")
        (second,) = bars.tasks
        assert (first.completed, second.completed, second.total) == (10, 1, 30)
        assert second.description == "train  epoch 1/3 \\[bold]"
        show("train", 2, 30, "")
        assert bars.tasks[0].id == second.id
        show("train", 1, 30, "")  # the next training
        assert bars.tasks[0].id != second.id
