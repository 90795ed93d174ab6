"""Judging whole clips: centred when short, at the surest step when long, for both kinds of model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.runtime import streams

from edgepress_runtime import manifest as manifests
from edgepress_runtime.clips import centred, clip_judge, decided, window_scores
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.features import features
from edgepress_runtime.image import quantize

WINDOW = (streams.WINDOW_FRAMES - 1) * 320 + 480


@pytest.fixture
def judged():
    """A function: (samples, options of `stream_members`) -> scores."""
    engines = []

    def judge(samples, kind="float32", **options):
        members = streams.stream_members(kind, **options)
        engines.append(open_engine(members["model.tflite"], threads=1))
        return clip_judge(engines[-1], manifests.load(members["manifest.json"]))(samples)

    yield judge
    for engine in engines:
        engine.close()


@pytest.mark.parametrize("kind", streams.KINDS)
@pytest.mark.parametrize("length", [0, 1, 500, WINDOW - 1, WINDOW])
def test_a_short_clip_is_centred_in_one_window(judged, kind, length):
    model = streams.whole_window(kind)
    samples = streams.hiss(1, amplitude=0.1)[:length]
    around = np.zeros(WINDOW, np.int16)
    around[(WINDOW - length) // 2 :][:length] = samples
    spec = manifests.load(streams.stream_members(kind)["manifest.json"]).preprocessing
    with open_engine(model, threads=1) as engine:
        source, target = engine.inputs[0], engine.outputs[0]
        (row,) = engine.run(quantize(features(around, spec), source).reshape(source.shape))[0]
        expected = (row.astype(np.float32) - np.float32(target.zero_point or 0)) * np.float32(target.scale or 1)
    np.testing.assert_array_equal(judged(samples, kind, model=model), expected, strict=True)


@pytest.mark.parametrize("length", [0, 500, WINDOW])
def test_a_streaming_model_sees_the_same_window(judged, length):
    """The model averages a band over its window, so the answer for one window is easy to state."""
    samples = streams.tone(1100, 1)[:length]
    scores = judged(samples, model=streams.beep_stream())
    spec = manifests.load(streams.stream_members()["manifest.json"]).preprocessing
    frames = features(centred(samples, WINDOW), spec)
    assert len(frames) == streams.WINDOW_FRAMES
    logits = [8 * (frames[:, band] - frames.mean(axis=1)).mean() - 8 for band in (3, 8)]
    expected = np.exp([*logits, 0.0]) / np.exp([*logits, 0.0]).sum()
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("model", [streams.beep_stream, streams.whole_window])
def test_a_long_clip_is_judged_as_a_stream(judged, model):
    noise = streams.hiss(3)
    scores = judged(noise, model=model())
    assert scores.shape == (3,)
    if model is streams.beep_stream:
        assert scores.argmax() == 2
        word = noise.copy()
        word[20000:26000] += streams.tone(4700, 1)[:6000]
        assert judged(word, model=model())[1] > 0.9


def test_a_long_clip_gets_the_verdict_of_a_stream():
    """Labels a and b fire at 0.5 on the average of two steps of 40 ms; unknown is the background."""
    plain = manifests.load(streams.stream_members("float32")["manifest.json"])
    manifest = dataclasses.replace(
        plain, labels=("a", "b", "unknown"), thresholds={"a": 0.5, "b": 0.5},
        detection=dataclasses.replace(plain.detection, smoothing_ms=80.0),
    )  # fmt: skip
    spike = np.array([[0.0, 0.0, 1.0], [0.9, 0.0, 0.1], [0.0, 0.1, 0.9], [0.0, 0.1, 0.9]], np.float32)
    found = decided(spike, manifest, 40.0)  # too short: the average of a is 0.45
    assert found.argmax() == 2 and found[0] == found[1] == 0 and found[2] == spike[:, 2].mean()
    said = np.array([[0.1, 0.0, 0.9], [0.6, 0.0, 0.4], [0.4, 0.6, 0.0], [0.0, 0.7, 0.3]], np.float32)
    found = decided(said, manifest, 40.0)  # b reaches 0.65, a 0.5 at most
    assert found.argmax() == 1 and found[1] == np.float32(0.65)
    low = dataclasses.replace(manifest, thresholds={"a": 0.2, "b": 0.9})
    found = decided(said, low, 40.0)  # a fired in a step in which others scored as well
    assert found.argmax() == 0
    without = dataclasses.replace(manifest, labels=("a", "b", "c"), thresholds={"a": 0.9})
    np.testing.assert_array_equal(decided(said, without, 40.0), said[0])  # no background: the surest step
    np.testing.assert_array_equal(decided(said[1:2], manifest, 40.0), said[1])  # one window is its own verdict


def test_frames_that_fill_no_window_give_no_scores():
    members = streams.stream_members("float32", model=streams.whole_window())
    manifest = manifests.load(members["manifest.json"])
    with open_engine(members["model.tflite"]) as engine:
        frames = np.zeros((streams.WINDOW_FRAMES + 4, streams.FEATURES), np.float32)
        assert window_scores(engine, manifest, frames[:8]).shape == (0, 3)
        assert window_scores(engine, manifest, frames).shape == (5, 3)
        assert window_scores(engine, manifest, frames, stride=2).shape == (3, 3)


def test_a_window_that_is_not_the_model_s(judged):
    wrong = {**streams.DETECTION, "window_frames": 12}
    with pytest.raises(EdgepressError, match="the manifest has a window of 12 frames, the model takes 9 at once"):
        judged(np.zeros(9000, np.int16), model=streams.whole_window(), detection=wrong)
