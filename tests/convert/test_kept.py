"""Kept results: used again exactly while what they came from and what they left behind are the same."""

from __future__ import annotations

import json

import pytest

from edgepress_convert.kept import Kept
from edgepress_runtime.errors import EdgepressError
from edgepress_train.progress import silent


class Work:
    """Counts how often it was done."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> dict[str, int]:
        self.done += 1
        return {"value": self.done}


def kept(folder, *, force=False, progress=silent) -> Kept:
    return Kept(folder / "out", total=3, progress=progress, force=force)


def test_a_finished_step_is_used_again_also_by_the_next_process(tmp_path):
    work = Work()
    assert kept(tmp_path).once("a", "doing a", work, source={"x": 1}) == {"value": 1}
    later = kept(tmp_path)
    assert later.once("a", "doing a", work, source={"x": 1}) == {"value": 1}
    assert later.steps[0]["reused"] is True
    assert work.done == 1
    assert json.loads((tmp_path / "out/results/a.json").read_text(encoding="utf-8")) == {"value": 1}


@pytest.mark.parametrize("spoil", ["source", "proof", "result", "notes", "force"])
def test_what_has_changed_is_done_again(tmp_path, spoil):
    work = Work()
    kept(tmp_path).once("a", "doing a", work, source={"x": 1}, proof=lambda: "whole")
    if spoil == "result":
        (tmp_path / "out/results/a.json").unlink()
    if spoil == "notes":
        (tmp_path / "out/steps.json").write_text('{"a": ', encoding="utf-8")
    again = kept(tmp_path, force=spoil == "force")
    source = {"x": 2} if spoil == "source" else {"x": 1}
    proof = "damaged" if spoil == "proof" else "whole"
    assert again.once("a", "doing a", work, source=source, proof=lambda: proof) == {"value": 2}
    assert again.steps[0]["reused"] is False


def test_a_failed_step_is_not_finished(tmp_path):
    def fail():
        raise EdgepressError("no luck")

    with pytest.raises(EdgepressError):
        kept(tmp_path).once("a", "doing a", fail, source={})
    assert kept(tmp_path).once("a", "doing a", Work(), source={}) == {"value": 1}


def test_every_step_is_told(tmp_path):
    told = []
    keeper = kept(tmp_path, progress=lambda *step: told.append(step))
    keeper.once("a", "doing a", Work(), source={})
    with keeper.step("doing b"):
        pass
    assert told == [("steps", 0, 3, "doing a"), ("steps", 1, 3, "doing b")]
    assert [step["step"] for step in keeper.steps] == ["doing a", "doing b"]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path, force):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("three years", encoding="utf-8")
    with pytest.raises(EdgepressError, match="exists and was not made by this command"):
        kept(tmp_path, force=force)
    assert (tmp_path / "out/thesis.txt").read_text(encoding="utf-8") == "three years"
