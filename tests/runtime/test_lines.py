"""What leaves a command: one line stays one line, JSON stays JSON, and a dead stderr ends nothing."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest

from edgepress_runtime.lines import complain, json_line, one_line

ODD = os.fsdecode(b"caf\xe9")  # a name in Latin-1, as Linux gives it


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain ü 猫 €", "plain ü 猫 €"),
        ("two\nlines\r", "two\\nlines\\r"),
        ("\x1b[31mred", "\\x1b[31mred"),
        (ODD, "caf\\udce9"),
        ("a\u2028b", "a\\u2028b"),
        ("", ""),
    ],
)
def test_one_line(text, line):
    assert one_line(text) == line


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
@pytest.mark.parametrize("value", ["猫", ODD, "ü\n"])
def test_json_survives_every_stdout(monkeypatch, encoding, value):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    text = json_line({"file": value})
    text.encode(encoding)
    assert json.loads(text) == {"file": value}
    assert "\n" not in text


def test_json_is_readable_where_it_can_be():
    assert json_line({"a": "猫"}) == '{"a": "猫"}'
    with pytest.raises(ValueError):
        json_line({"a": float("nan")})


class Full(io.StringIO):
    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_stderr_that_is_full_or_closed_takes_nothing(monkeypatch):
    closed = io.StringIO()
    closed.close()
    for stream in (Full(), closed):
        monkeypatch.setattr(sys, "stderr", stream)
        complain("anything")
