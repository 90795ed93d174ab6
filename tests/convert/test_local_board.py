"""The board's command as a child process: its answer, its words, its failures."""

from __future__ import annotations

import json

import pytest

from edgepress_convert import local_board
from edgepress_runtime.errors import EdgepressError


@pytest.fixture
def pretend(monkeypatch, tmp_path):
    """A function that puts a shell script in the place of Python and the board's command."""

    def put(script):
        path = tmp_path / "board"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(local_board.sys, "executable", str(path))

    return put


def test_an_answer_larger_than_a_pipe_arrives_whole(pretend, tmp_path, capsys):
    answer = {"samples_ms": list(range(60_000))}
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    pretend(f"echo measuring >&2; cat {tmp_path / 'answer.json'}; echo done >&2")
    assert local_board.device("bench") == answer
    assert capsys.readouterr().err == "measuring\ndone\n"


def test_a_refusal_comes_in_the_boards_own_words(pretend):
    pretend("echo 'error: the card is full' >&2; echo 'tip: free some space' >&2; exit 1")
    with pytest.raises(EdgepressError) as caught:
        local_board.device("install", "x.edge")
    assert (caught.value.what, caught.value.remedy) == ("the card is full", "free some space")


def test_a_death_without_a_word_is_told(pretend):
    pretend("kill -9 $$")
    with pytest.raises(EdgepressError, match="edgepress-device bench ended with exit code -9"):
        local_board.device("bench")
