"""Front ends: equal to librosa's, and to themselves however a stream is cut, for ever, whatever the sound is."""

from __future__ import annotations

import builtins
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.features import FrontEnd, features, frame_count
from edgepress_runtime.manifest import Pcen, SpeechSpec

RATE = 16_000
PCEN = Pcen(smoothing=0.04, gain=0.98, bias=2.0, power=0.5)
SPECS = {
    "log-mel": SpeechSpec("log-mel", mean=11.0, std=3.5),
    "log-mel, 10 ms": SpeechSpec("log-mel", window=400, hop=160, bands=32, high_hz=3800.0),
    "log-mel, 128 bands": SpeechSpec("log-mel", bands=128, low_hz=0.0, high_hz=8000.0),
    "log-mel, 48 kHz": SpeechSpec("log-mel", rate_hz=48_000, window=1440, hop=960, bands=64, high_hz=20_000.0),
    "frames that lie apart": SpeechSpec("log-mel", window=100, hop=333),
    "mfcc": SpeechSpec("mfcc", coefficients=10, mean=3.0, std=20.0),
    "pcen": SpeechSpec("log-mel", pcen=PCEN),
}
MICRO = SpeechSpec("micro", hop=160, mean=10.0, std=6.0)


def noise(count: int, seed: int = 0) -> np.ndarray:
    """Noise that swells and fades, so that front ends with a memory have something to remember."""
    swell = 3000 * (1 + np.sin(np.arange(count) / 5000)) + 1
    return np.rint(np.clip(np.random.default_rng(seed).normal(0, swell), -32768, 32767)).astype(np.int16)


# Every machine makes these: tones on a grid of small primes, which swell and fade, in steps of whole numbers.
SCALE = sum(
    (np.arange(2 * RATE) * step % 20_011 - 10_005) * (np.arange(2 * RATE) // 97 % (step % 7 + 2)) // 40
    for step in (301, 1_009, 2_503, 5_003, 7_919, 9_973)
).astype(np.int16)
LIBROSA = Path(__file__).with_name("librosa_features.npz")


def streamed(samples: np.ndarray, sizes, spec: SpeechSpec) -> np.ndarray:
    front_end = FrontEnd(spec)
    ends = np.cumsum(sizes)
    return np.concatenate([front_end.push(piece) for piece in np.split(samples, ends[ends < len(samples)])])


# ---- against librosa


def by_librosa(samples: np.ndarray, spec: SpeechSpec) -> np.ndarray:
    """(frames, features) float64, not normalised, by librosa, which puts the window in the middle of the transform."""
    import librosa

    size = 1 << (spec.window - 1).bit_length()
    ahead = (size - spec.window) // 2
    energies = librosa.feature.melspectrogram(
        y=np.pad(samples.astype(np.float64), (ahead, size - spec.window - ahead)),
        sr=spec.rate_hz,
        n_fft=size,
        hop_length=spec.hop,
        win_length=spec.window,
        center=False,
        n_mels=spec.bands,
        fmin=spec.low_hz,
        fmax=spec.high_hz,
        dtype=np.float64,
    )
    if spec.pcen is not None:
        past = energies[:, :1] * (1 - PCEN.smoothing)  # the filter's memory of a constant past like the first frame
        return librosa.pcen(
            energies, b=PCEN.smoothing, gain=PCEN.gain, bias=PCEN.bias, power=PCEN.power, eps=1.0, zi=past
        ).T
    logs = np.log(np.maximum(energies, 1.0))
    if spec.front_end == "mfcc":
        return librosa.feature.mfcc(S=logs, n_mfcc=spec.coefficients, dct_type=2, norm="ortho").T
    return logs.T


def kept(whole: np.ndarray) -> np.ndarray:
    """The frames of which the table holds librosa's features."""
    return whole[[0, 1, len(whole) // 2, -1]]


@pytest.mark.parametrize("name", SPECS)
def test_the_features_are_librosas(name):
    """librosa takes long to load; `LIBROSA` holds what version 0.11 gave, made by the slow test below."""
    spec = SPECS[name]
    found = features(SCALE, spec)
    assert found.dtype == np.float32 and found.shape == (frame_count(len(SCALE), spec), spec.features)
    with np.load(LIBROSA) as table:
        np.testing.assert_allclose(kept(found), (table[name] - spec.mean) / spec.std, rtol=2e-6, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.filterwarnings("ignore:Empty filters:UserWarning")
def test_librosa_gives_the_same_today(name, tmp_path):
    """A new table: let this test write it, by EDGEPRESS_WRITE_TABLES=1 in the environment."""
    pytest.importorskip("librosa")
    spec, samples = SPECS[name], noise(3 * RATE)
    truth = by_librosa(samples, spec)
    np.testing.assert_allclose(features(samples, spec), (truth - spec.mean) / spec.std, rtol=2e-6, atol=2e-6)
    fresh = kept(by_librosa(SCALE, spec))
    if os.environ.get("EDGEPRESS_WRITE_TABLES"):
        rows = dict(np.load(LIBROSA)) if LIBROSA.exists() else {}
        np.savez_compressed(LIBROSA, **{**rows, name: fresh})
    with np.load(LIBROSA) as table:
        np.testing.assert_allclose(table[name], fresh, rtol=1e-9, atol=1e-9)


# ---- chunks


@pytest.mark.parametrize("name", SPECS)
@given(
    count=st.integers(0, 6000),
    sizes=st.lists(st.one_of(st.just(0), st.integers(1, 9), st.integers(100, 1500)), max_size=40),
)
@settings(max_examples=40, deadline=None)
def test_chunks_change_nothing(name, count, sizes):
    spec, samples = SPECS[name], noise(6000)[:count]
    whole = features(samples, spec)
    assert whole.shape == (frame_count(count, spec), spec.features)
    np.testing.assert_array_equal(streamed(samples, sizes, spec), whole)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("size", [1, 7, 320, 641, 30_000])
def test_equal_chunks_change_nothing(name, size):
    samples = noise(RATE * 3)[: 4000 if size == 1 else None]
    spec = SPECS[name]
    np.testing.assert_array_equal(streamed(samples, [size] * (len(samples) // size), spec), features(samples, spec))


@pytest.mark.parametrize("name", SPECS)
def test_a_frame_comes_with_the_sample_that_completes_it(name):
    spec = SPECS[name]
    front_end, samples = FrontEnd(spec), noise(3 * spec.hop + spec.window)
    given_frames = 0
    for at, sample in enumerate(samples, 1):
        given_frames += len(front_end.push(np.array([sample], np.int16)))
        assert given_frames == frame_count(at, spec)
    assert given_frames == 4


@pytest.mark.parametrize("name", SPECS)
def test_reset_begins_anew(name):
    spec, samples = SPECS[name], noise(5000)
    front_end = FrontEnd(spec)
    front_end.push(noise(7777, seed=1))
    front_end.reset()
    np.testing.assert_array_equal(front_end.push(samples), features(samples, spec))


def test_views_and_read_only_samples_are_taken_as_they_are():
    both = np.stack((noise(5000), noise(5000, seed=1)), axis=1)
    both.flags.writeable = False
    found = features(both[:, 0], SPECS["log-mel"])
    np.testing.assert_array_equal(found, features(both[:, 0].copy(), SPECS["log-mel"]))
    first = found.copy()
    features(both[:, 1], SPECS["log-mel"])
    np.testing.assert_array_equal(found, first)  # what was given is not written over later


# ---- for ever


@pytest.mark.parametrize("name", [name for name, spec in SPECS.items() if spec.pcen is None])
def test_after_minutes_a_stream_gives_what_a_fresh_one_gives(name):
    spec = SPECS[name]
    front_end, block = FrontEnd(spec), noise(49_999)
    taken = frames = 0
    while taken < 4 * 60 * RATE:
        frames += len(front_end.push(block))
        taken += len(block)
    assert frames == frame_count(taken, spec)
    rest = noise(RATE, seed=5)
    begin = frames * spec.hop  # of the next frame in the stream
    fresh = np.concatenate((block[len(block) - (taken - begin) :], rest)) if begin <= taken else rest[begin - taken :]
    np.testing.assert_array_equal(front_end.push(rest), features(fresh, spec))


def test_a_stream_with_pcen_and_a_fresh_one_become_equal():
    spec = SPECS["pcen"]
    old, new = FrontEnd(spec), FrontEnd(spec)
    for seed in range(60):
        old.push(noise(2 * RATE, seed))
    differences = []
    for seed in range(10):
        # A whole number of hops each, and both began at one, so their frames lie at the same places.
        block = noise(RATE, seed + 100)
        if seed == 0:
            new.push(old._frames._waiting)
        differences.append(np.abs(old.push(block) - new.push(block)).max())
    assert differences[0] > 1e-3
    assert differences[-1] < 1e-6


def test_ten_hours_do_not_shift_a_frame():
    spec = SpeechSpec("log-mel", rate_hz=4_000, window=16, hop=16_381, bands=4, high_hz=2000.0)
    front_end, block = FrontEnd(spec), noise(1_000_003)
    blocks = 10 * 3600 * 4000 // len(block) + 1
    found = np.concatenate([front_end.push(block) for _ in range(blocks)])
    assert len(found) == frame_count(blocks * len(block), spec)
    last = (len(found) - 1) * spec.hop % len(block)
    np.testing.assert_array_equal(found[-1:], features(np.resize(np.roll(block, -last), spec.window), spec))


# ---- any sound

EXTREMES = {
    "silence": np.zeros(RATE, np.int16),
    "square": np.where(np.arange(RATE) // 20 % 2, 32_767, -32_768).astype(np.int16),
    "highest": np.where(np.arange(RATE) % 2, 32_767, -32_768).astype(np.int16),
    "lowest": np.full(RATE, -32_768, np.int16),
    "click": (np.arange(RATE) == 8000).astype(np.int16) * np.int16(32_767),
    "silence, then noise, then silence": np.concatenate(
        (np.zeros(5000, np.int16), noise(5000), np.zeros(6000, np.int16))
    ),
}


@pytest.mark.parametrize("sound", EXTREMES)
@pytest.mark.parametrize("name", [*SPECS, "micro"])
def test_features_of_any_sound_are_finite(name, sound):
    if name == "micro":
        pytest.importorskip("pymicro_features")
    spec = replace(SPECS.get(name, MICRO), std=1e-6, mean=-1e6)
    assert np.isfinite(features(EXTREMES[sound], spec)).all()
    strong = Pcen(smoothing=1.0, gain=1.0, bias=1e-3, power=0.01)
    if spec.pcen is not None:
        for pcen in (strong, replace(strong, gain=0.0, power=1.0, bias=1e3), replace(strong, smoothing=1e-4)):
            assert np.isfinite(features(EXTREMES[sound], replace(spec, pcen=pcen))).all()


def test_silence_is_zero():
    for name in ("log-mel", "mfcc", "pcen"):
        found = features(EXTREMES["silence"], replace(SPECS[name], mean=0.0, std=1.0))
        assert np.abs(found).max() < 1e-6


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (np.zeros((2, 3), np.int16), "sound should be int16 in one dimension, not int16 [2, 3]"),
        (np.zeros(3, np.float32), "sound should be int16 in one dimension, not float32 [3]"),
        (np.zeros(3, np.uint16), "sound should be int16 in one dimension, not uint16 [3]"),
    ],
)
def test_other_arrays_are_refused(samples, sentence):
    for spec in (SPECS["log-mel"], SPECS["pcen"]):
        with pytest.raises(EdgepressError) as caught:
            features(samples, spec)
        assert caught.value.what == sentence


# ---- micro


@pytest.fixture
def micro():
    return pytest.importorskip("pymicro_features")


def test_micro_is_what_microwakeword_hears(micro):
    peer = pytest.importorskip("pymicro_wakeword")
    samples = noise(3 * RATE)
    truth = np.concatenate(
        [np.reshape(row, (-1, 40)) for row in peer.MicroWakeWordFeatures().process_streaming(samples.tobytes())]
    )
    found = features(samples, MICRO)
    np.testing.assert_allclose(found * 6 + 10, truth, rtol=1e-6, atol=1e-5)


def test_micro_gives_whole_numbers_of_one_25_6th(micro):
    found = features(noise(2 * RATE), SpeechSpec("micro", hop=160)) * 25.6
    np.testing.assert_allclose(found, np.rint(found), atol=1e-4)
    assert found.min() >= 0 and 200 < found.max() < 1000


@given(sizes=st.lists(st.one_of(st.integers(0, 9), st.integers(100, 1500)), max_size=40))
@settings(max_examples=40, deadline=None)
def test_micro_in_chunks(sizes):
    pytest.importorskip("pymicro_features")
    samples = noise(6000)
    whole = features(samples, MICRO)
    assert whole.shape == (frame_count(6000, MICRO), 40) and whole.dtype == np.float32
    np.testing.assert_array_equal(streamed(samples, sizes, MICRO), whole)


def test_micro_forgets_on_reset(micro):
    front_end, samples = FrontEnd(MICRO), noise(5000)
    front_end.push(noise(RATE * 3, seed=1)[:-77])
    front_end.reset()
    np.testing.assert_array_equal(front_end.push(samples), features(samples, MICRO))


def test_without_its_package_micro_says_what_to_install(monkeypatch):
    original = builtins.__import__

    def without(name, *rest):
        if name == "pymicro_features":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(EdgepressError) as caught:
        FrontEnd(MICRO)
    assert str(caught.value) == "the micro front end is not installed (pip install 'edgepress-runtime[micro]')"
    assert features(noise(1000), SPECS["log-mel"]).shape == (2, 40)
