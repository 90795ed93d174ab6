import io
import os
import threading

import numpy as np
import pytest
from tests.runtime import streams

from edgepress_apps.sounds import Pipe, Recordings
from edgepress_runtime import audio
from edgepress_runtime.errors import EdgepressError


@pytest.fixture
def shelf(tmp_path):
    """Three recordings in a folder, one of them broken, and a note."""
    folder = tmp_path / "shelf"
    (folder / "deep").mkdir(parents=True)
    streams.write_wav(folder / "a.wav", streams.tone(500, 0.1))
    (folder / "broken.wav").write_bytes(b"RIFF")
    streams.write_wav(folder / "deep" / "c.wav", streams.tone(700, 0.1, rate_hz=8000), rate_hz=8000)
    (folder / "note.txt").write_text("not a recording", encoding="utf-8")
    return folder


def test_files_come_in_chunks_each_a_stream_and_losses_are_told(shelf):
    lost = []
    with Recordings([str(shelf)], 16000, told=lambda what, why: lost.append((what, why))) as chunks:
        found = list(chunks)
    assert {(c.stream, c.origin) for c in found} == {(0, str(shelf / "a.wav")), (2, str(shelf / "deep" / "c.wav"))}
    for number, name in ((0, "a.wav"), (2, "deep/c.wav")):
        whole = np.concatenate([c.samples for c in found if c.stream == number])
        np.testing.assert_array_equal(whole, audio.load(shelf / name, 16000))
    assert all((c.rate_hz, c.lost, c.samples.dtype) == (16000, 0, np.int16) for c in found)
    assert [c.t for c in found] == sorted(c.t for c in found)
    ((what, why),) = lost
    assert what == str(shelf / "broken.wav") and "broken.wav" in why


def test_leaving_the_source_ends_its_chunks(shelf):
    with Recordings([str(shelf)], 16000) as chunks:
        next(chunks)
    assert list(chunks) == []


def test_nothing_to_read_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(EdgepressError, match="missing does not exist"), Recordings([str(tmp_path / "missing")], 16000):
        pass
    with pytest.raises(EdgepressError, match="empty holds no recordings"), Recordings([str(tmp_path / "empty")], 16000):
        pass


@pytest.mark.parametrize("piece", [1, 3, 1000, 100000])
def test_a_pipe_that_delivers_odd_pieces(piece):
    samples = streams.hiss(0.3, amplitude=0.2)
    data = samples.astype("<i2").tobytes() + b"\x07"  # and half a sample at the end

    class Pieces(io.BytesIO):
        def read1(self, size=-1):
            return super().read1(min(piece, size))

    with Pipe(Pieces(data), 16000) as chunks:
        found = list(chunks)
    np.testing.assert_array_equal(np.concatenate([c.samples for c in found]), samples)
    assert all(c.rate_hz == 16000 and c.origin == "" and c.stream == 0 and len(c.samples) for c in found)


def test_a_pipe_gives_what_is_there_without_waiting_for_more():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as stream, Pipe(stream, 16000) as chunks:
        os.write(writing, bytes(200))
        assert len(next(chunks).samples) == 100
        threading.Timer(0.05, os.write, (writing, bytes(2))).start()
        assert len(next(chunks).samples) == 1
        os.close(writing)
        assert list(chunks) == []


def test_an_empty_pipe_gives_nothing():
    with Pipe(io.BytesIO(), 16000) as chunks:
        assert list(chunks) == []
