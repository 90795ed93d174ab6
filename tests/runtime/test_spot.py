"""The spotter against the bare interpreter fed with whole-clip features, however the sound is cut into blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime import streams

from edgepress_runtime import manifest as manifests
from edgepress_runtime.detect import Detector, smooth
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.features import features
from edgepress_runtime.image import quantize
from edgepress_runtime.spot import Spotter


@pytest.fixture
def loaded():
    """A function: the options of `stream_members` -> (spotter, model bytes, manifest)."""
    engines = []

    def load(kind="int8", *, change=lambda manifest: manifest, **options):
        members = streams.stream_members(kind, **options)
        manifest = change(manifests.load(members["manifest.json"]))
        engines.append(open_engine(members["model.tflite"], threads=1))
        return Spotter(engines[-1], manifest), members["model.tflite"], manifest

    yield load
    for engine in engines:
        engine.close()


@pytest.fixture
def sound():
    """Two seconds of tones in noise."""
    noise = streams.hiss(2, amplitude=0.05, seed=4)
    return noise + np.concatenate([streams.tone(hz, 0.5) for hz in (300, 1500, 5000, 800)])


def truth(model, manifest, samples):
    """Scores of all steps, by whole-clip features, plain quantization and the interpreter's own set and get."""
    source, target = manifest.inputs[0], manifest.outputs[0]
    frames = features(samples, manifest.preprocessing)
    steps = len(frames) // source.shape[1]
    stored = quantize(frames[: steps * source.shape[1]], source).reshape(steps, *source.shape[1:])
    rows = streams.bare_stream(model, stored).astype(np.float32)
    return (rows - np.float32(target.zero_point or 0)) * np.float32(target.scale or 1)


def in_blocks(spotter, samples, sizes):
    begin, rows = 0, []
    for size in sizes:
        rows.append(spotter.scores(samples[begin : begin + size]))
        begin += size
    return np.concatenate([*rows, spotter.scores(samples[begin:])])


@pytest.mark.parametrize("kind", streams.KINDS)
@pytest.mark.parametrize("step_frames", [1, 2, 3])
def test_scores_are_those_of_the_bare_interpreter(loaded, sound, kind, step_frames):
    spotter, model, manifest = loaded(kind, model=streams.random_stream(kind, step_frames=step_frames))
    expected = truth(model, manifest, sound)
    assert len(expected) > 30 and np.ptp(expected, axis=0).max() > 0.2
    np.testing.assert_array_equal(spotter.scores(sound), expected, strict=True)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 3000), max_size=30), kind=st.sampled_from(streams.KINDS))
def test_any_blocks_give_the_same_bits(sizes, kind):
    samples = streams.hiss(1, amplitude=0.1) + streams.tone(700, 1)
    members = streams.stream_members(kind, model=streams.random_stream(kind, step_frames=3))
    with open_engine(members["model.tflite"], threads=1) as engine:
        spotter = Spotter(engine, manifests.load(members["manifest.json"]))
        whole = spotter.scores(samples)
        spotter.reset()
        parts = in_blocks(spotter, samples, sizes)
        np.testing.assert_array_equal(parts, whole, strict=True)


@pytest.mark.parametrize("block", [1, 160, 640, 1000, 32000])
def test_any_blocks_give_the_same_detections(loaded, sound, block):
    spotter, _, _ = loaded(thresholds={"computer": 0.3, "lights on": 0.3})
    whole = spotter.push(sound)
    spotter.reset()
    assert [d for i in range(0, len(sound), block) for d in spotter.push(sound[i : i + block])] == whole
    assert whole


def test_push_is_scores_and_a_detector(loaded, sound):
    spotter, model, manifest = loaded(thresholds={"computer": 0.3, "lights on": 0.3})
    rows = truth(model, manifest, sound)
    watch = Detector(
        manifest.labels, manifest.thresholds, manifest.detection, spotter.step_ms, window_ms=spotter.window_s * 1e3
    )
    expected = []
    for i, row in enumerate(rows):
        # The last frame of a step reaches a third of a hop beyond it.
        detection = watch.push(row, ((i + 1) * 640 - 320 + 480) / 16000) if i >= spotter.first_row else None
        expected += [detection] if detection else []
    found = spotter.push(sound)
    assert [(d.label, d.score) for d in found] == [(d.label, d.score) for d in expected]
    np.testing.assert_allclose([d[2:] for d in found], [d[2:] for d in expected], atol=1e-9)
    averages = smooth(rows[spotter.first_row :], manifest.detection, spotter.step_ms)
    assert (averages[:, :2].max() >= 0.3) == bool(found)


def test_what_a_step_and_a_window_are(loaded):
    spotter, _, _ = loaded()
    assert (spotter.rate_hz, spotter.step_samples, spotter.step_ms) == (16000, 640, 40.0)
    assert (spotter.window_frames, spotter.window_samples) == (9, 8 * 320 + 480)
    assert spotter.window_s == pytest.approx(0.19)
    assert spotter.first_row == 4  # the fifth step is the first that has seen 9 frames


def test_reset_forgets_sound_states_and_events(loaded, sound):
    spotter, _, _ = loaded(thresholds={"computer": 0.3, "lights on": 0.3})
    first = spotter.push(sound)
    assert spotter.seconds == 2
    spotter.reset()
    assert spotter.seconds == 0
    assert spotter.push(sound) == first
    spotter.reset()
    spotter.push(sound[:777])
    spotter.reset()
    assert spotter.push(sound) == first


def test_two_spotters_do_not_disturb_each_other(loaded, sound):
    one, model, manifest = loaded()
    other, _, _ = loaded()
    found = []
    for i in range(0, len(sound), 640):
        found.append(one.scores(sound[i : i + 640]))
        other.scores(sound[::-1][i : i + 640])
    np.testing.assert_array_equal(np.concatenate(found), truth(model, manifest, sound))


def test_no_sound_gives_no_scores(loaded):
    spotter, _, _ = loaded()
    rows = spotter.scores(np.zeros(0, np.int16))
    assert (rows.shape, rows.dtype) == ((0, 3), np.float32)
    assert spotter.push(np.zeros(100, np.int16)) == []


# ---- words that can be worked out: a low tone is "computer", a high one is "lights on"


def spoken(*words, gap=1.0):
    """Each word 0.4 s long, after `gap` seconds of noise."""
    hz = {"computer": 1100, "lights on": 4700}
    parts = [part for word in words for part in (np.zeros(round(gap * 16000), np.int16), streams.tone(hz[word], 0.4))]
    samples = np.concatenate([*parts, np.zeros(16000, np.int16)])
    return samples + streams.hiss(len(samples) / 16000)


@pytest.fixture(params=streams.KINDS)
def house(request, loaded):
    return loaded(request.param, model=streams.beep_stream(request.param))[0]


def test_words_are_heard_where_they_are(house):
    found = house.whole(spoken("computer", "lights on"))
    assert [d.label for d in found] == ["computer", "lights on"]
    for detection, begin in zip(found, (1.0, 2.4)):
        assert detection.score >= 0.6
        assert begin < detection.end_s < begin + 0.5
        assert detection.start_s < begin + 0.2
        assert detection.end_s - detection.start_s == pytest.approx(house.window_s + 0.04)


def test_one_long_tone_is_one_event_and_two_apart_are_two(house):
    long = np.concatenate((np.zeros(16000, np.int16), streams.tone(1100, 4), np.zeros(16000, np.int16)))
    assert [d.label for d in house.whole(long + streams.hiss(6))] == ["computer"]
    assert [d.label for d in house.whole(spoken("computer", "computer", gap=2.6))] == ["computer"] * 2


def test_a_word_at_the_very_start_or_end_of_a_recording_is_heard(house):
    for samples in (spoken("computer", gap=0), spoken("computer")[: round(1.4 * 16000)], streams.tone(1100, 0.4)):
        (detection,) = house.whole(samples)
        assert detection.start_s >= 0
        assert detection.end_s <= len(samples) / 16000 + house.window_s


def test_a_long_recording_is_heard_in_parts_with_the_same_answer(house, monkeypatch):
    samples = spoken("computer", "lights on", "computer")
    whole = house.whole(samples)
    monkeypatch.setattr("edgepress_runtime.spot._BLOCK_S", 1)
    assert house.whole(samples) == whole
    assert len(whole) == 3


def test_a_stream_may_begin_at_any_time_of_the_clock(house):
    house.begin(100.0)
    assert house.seconds == pytest.approx(100)
    found = house.push(spoken("computer"))
    assert 101 < found[0].end_s < 101.5
    assert house.seconds == pytest.approx(102.4)


def test_nothing_fires_before_the_window_is_full(loaded):
    spotter, _, _ = loaded("float32", model=streams.beep_stream())
    # States of zero beside a silence far below zero look like a tone of every band; none must be heard.
    low = streams.tone(1100, 1)
    assert spotter.push(low[: spotter.first_row * spotter.step_samples]) == []
    assert [d.label for d in spotter.push(low[spotter.first_row * spotter.step_samples :])] == ["computer"]


# ---- manifests that do not fit


def with_spec(**changes):
    return lambda m: replace(m, preprocessing=replace(m.preprocessing, **changes))


def with_window(frames):
    return lambda m: replace(m, detection=replace(m.detection, window_frames=frames))


def with_tensor(which, **changes):
    def change(m):
        first, *others = getattr(m, which)
        return replace(m, **{which: (replace(first, **changes), *others)})

    return change


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (with_spec(bands=12), "the manifest prepares frames of 12 features, the model takes [1, 2, 10, 1]"),
        (with_window(1), "the manifest has a window of 1 frames, the model takes 2 at once"),
        (with_tensor("inputs", scale=0.07), "the manifest says int8 [1, 2, 10, 1] scale 0.07"),
        (lambda m: replace(m, inputs=m.inputs[:2]), "the manifest lists 2 input tensors, the model has 3"),
        (
            lambda m: replace(m, labels=("a", "b"), thresholds={}),
            "the model gives [1, 3], but the manifest has 2 labels",
        ),
        (lambda m: replace(m, thresholds={"up": 0.5}), "there is a threshold for 'up', which is not among the labels"),
    ],
)
def test_a_manifest_that_does_not_fit_is_one_sentence(loaded, change, sentence):
    with pytest.raises(EdgepressError) as caught:
        loaded(change=change)
    assert caught.value.what.startswith(sentence)


def test_models_of_another_kind_are_refused(build, loaded):
    with pytest.raises(EdgepressError, match="house is not a streaming model: it takes its whole window at once"):
        loaded("float32", model=streams.whole_window())
    members = build.members_of("int8")
    with (
        open_engine(members["model.tflite"]) as engine,
        pytest.raises(EdgepressError, match="pets is a model for image-classification, not for keyword-spotting"),
    ):
        Spotter(engine, manifests.load(members["manifest.json"]))


def test_a_closed_engine_says_so(loaded, sound):
    spotter, _, _ = loaded()
    spotter._engine.close()
    with pytest.raises(EdgepressError, match="the engine is closed"):
        spotter.push(sound)


def test_lost_sound_moves_the_clock(house):
    house.begin(5.0)
    house.skip(0.1)
    assert house.seconds == pytest.approx(5.1)
    assert 6.1 < house.push(spoken("computer"))[0].end_s < 6.6
