"""A board over SSH, against a real sshd on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepress_convert import board
from edgepress_runtime.errors import EdgepressError


def test_words_arrive_as_they_were(host):
    words = ["a b", "$HOME", "it's", '"quoted"', "*", "; false"]
    assert board.run(host, ["printf", "%s\\n", *words]).splitlines() == words


def test_a_bundle_is_measured_there_and_nothing_is_left(host, bundle_file):
    before = set(Path("/tmp").glob("edgepress-*.edge"))
    result = board.bench(host, bundle_file, runs=5)
    assert result["latency_ms"]["p50"] > 0
    assert len(result["samples_ms"]) == 5
    assert set(Path("/tmp").glob("edgepress-*.edge")) == before


def test_a_bad_bundle_is_told_in_the_boards_words(host, tmp_path):
    (tmp_path / "bad.edge").write_bytes(b"PK\x03\x04 no bundle")
    with pytest.raises(EdgepressError, match=r"^on board: "):
        board.bench(host, tmp_path / "bad.edge", runs=5)


@pytest.mark.parametrize(
    ("name", "sentence", "remedy"),
    [
        ("unknown", "unknown cannot be reached: Host key verification failed", "compare the key's fingerprint"),
        ("closed", "closed cannot be reached: ", "ssh-copy-id closed"),
        ("off", "off cannot be reached: ", "is the board's SSH switched on?"),
        ("-oProxyCommand=touch x", "'-oProxyCommand=touch x' is no host", "pi@board.local"),
    ],
)
def test_hosts_that_cannot_be_reached(host, name, sentence, remedy):
    with pytest.raises(EdgepressError) as caught:
        board.run(name, ["true"])
    assert caught.value.what.startswith(sentence)
    assert remedy in caught.value.remedy


def test_a_board_without_the_runtime(host):
    with pytest.raises(EdgepressError) as caught:
        board.run(host, ["edgepress-none"])
    assert caught.value.what == "board has no edgepress-none"
