"""The boundary: every failure is one sentence and a code, whatever has become of the standard streams."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgepress_runtime.boundary import guarded
from edgepress_runtime.errors import EdgepressError

NO_SPACE = OSError(28, "No space left on device", "/x/y")


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (EdgepressError("it broke", "mend it"), 1, "error: it broke\ntip: mend it\n"),
        (EdgepressError("no\nremedy"), 1, "error: no\\nremedy\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
        (
            NO_SPACE,
            1,
            "error: the operating system refused: /x/y: No space left on device\n"
            "tip: mend that, and run the command again\n",
        ),
        (
            MemoryError(),
            1,
            "error: this machine has not enough memory for that\ntip: close other programs, or ask for less\n",
        ),
        (
            ValueError("odd\nvalue"),
            1,
            "error: edgepress has a bug here: ValueError: odd value\n"
            "tip: run it again with --debug and report what it prints\n",
        ),
    ],
)
def test_every_failure_becomes_a_sentence(error, code, told, capsys):
    def fail():
        raise error

    assert guarded(fail) == code
    assert capsys.readouterr() == ("", told)


def test_debug_shows_the_traceback_before_the_sentence(capsys):
    def fail():
        raise EdgepressError("it broke")

    assert guarded(fail, debug=True) == 1
    heard = capsys.readouterr().err
    assert heard.startswith("Traceback") and heard.endswith("error: it broke\n")


def test_codes_pass_through():
    assert [guarded(lambda code=code: code) for code in (None, 0, 1, 2)] == [0, 0, 1, 2]
    with pytest.raises(SystemExit):
        guarded(lambda: sys.exit(2))


PROGRAM = """
import os, sys
from edgepress_runtime.boundary import guarded
from edgepress_runtime.errors import EdgepressError
def command():
    print("result")
    if "fail" in sys.argv: raise EdgepressError("it broke")
    with open("file", "w") as file: print(file.fileno() > 2, file=file)
sys.exit(guarded(command))
"""


@pytest.mark.parametrize(
    ("streams", "word", "code", "heard"),
    [
        (">&-", "", 0, ""),
        ("2>&-", "", 0, "result\n"),
        (">&- 2>&-", "", 0, ""),
        ("<&- >&- 2>&-", "", 0, ""),
        ("<&- >&- 2>&-", "fail", 1, ""),
        ("2>&-", "fail", 1, "result\n"),  # and the sentence is not among the results
        ("2>/dev/full", "fail", 1, "result\n"),
        (">/dev/full", "", 1, "error: the operating system refused: No space left on device\n"),
        (">/dev/full 2>&1", "", 1, ""),
    ],
)
def test_closed_and_full_streams(environment, tmp_path, streams, word, code, heard):
    (tmp_path / "program.py").write_text(PROGRAM)
    line = f"{sys.executable} program.py {word} {streams}"
    done = subprocess.run(
        ["sh", "-c", line], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert "".join(line for line in (done.stdout + done.stderr).splitlines(True) if "tip:" not in line) == heard
    if not word and code == 0:
        assert (tmp_path / "file").read_text() == "True\n"
