"""From rate to rate: sines against their formula, noise against its spectrum, chunks against the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.resample import Resampler, resample

TO_16K = (8_000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000)
# Table of matrices, and table of phases: 44,101 and 16,000 have nothing in common.
PAIRS = [(rate, 16_000) for rate in (*TO_16K, 44_101)] + [(16_000, 44_100), (4_000, 192_000), (8_000, 4_001)]


def sine(hz: float, rate: int, count: int, peak: float = 30_000) -> np.ndarray:
    return peak * np.sin(2 * np.pi * hz * np.arange(count) / rate)


def stored(real: np.ndarray) -> np.ndarray:
    return np.rint(real).astype(np.int16)


def level_db(real: np.ndarray, peak: float = 30_000) -> float:
    return 20 * np.log10(max(np.sqrt(np.mean(np.square(real, dtype=np.float64))), 1e-9) / (peak / np.sqrt(2)))


def pieces(samples: np.ndarray, sizes) -> list[np.ndarray]:
    ends = np.cumsum(sizes)
    return np.split(samples, ends[ends < len(samples)])


def streamed(samples: np.ndarray, sizes, from_hz: int, to_hz: int) -> np.ndarray:
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate([*(resampler.push(piece) for piece in pieces(samples, sizes)), resampler.flush()])


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@pytest.mark.parametrize("part", [0.02, 0.25, 0.4375])
def test_a_sine_below_seven_eighths_of_the_lower_half_stays_where_it_is(from_hz, to_hz, part):
    """Against the formula: level within 0.01 dB and nothing else above -75 dB, so no delay either."""
    hz = part * min(from_hz, to_hz)
    found = resample(stored(sine(hz, from_hz, from_hz)), from_hz, to_hz)
    truth = sine(hz, to_hz, len(found))
    inner = slice(len(found) // 10, -len(found) // 10)
    gain = found[inner] @ truth[inner] / (truth[inner] @ truth[inner])
    assert abs(20 * np.log10(gain)) < 0.01
    assert level_db(found[inner] - gain * truth[inner]) < -75


@pytest.mark.parametrize(("from_hz", "to_hz"), [pair for pair in PAIRS if pair[0] > pair[1]])
def test_what_would_be_folded_back_is_70_db_down(from_hz, to_hz):
    for part in (0.5005, 0.505, 0.52, 0.56, 0.65, 0.9, 1.0, 1.3, 2.1):
        if part * to_hz < from_hz / 2:
            found = resample(stored(sine(part * to_hz, from_hz, from_hz)), from_hz, to_hz)
            assert level_db(found[len(found) // 10 : -len(found) // 10]) < -70


@pytest.mark.parametrize("from_hz", [8_000, 24_000, 44_100, 48_000])
def test_noise_below_the_limit_agrees_with_fourier(from_hz):
    """A second of periodic noise, moved from rate to rate by its spectrum; the ends, where it is cut off, aside."""
    rng = np.random.default_rng(3)
    count = int(0.42 * min(from_hz, 16_000))
    spectrum = np.zeros(96_001, complex)
    spectrum[1:count] = rng.normal(size=count - 1) + 1j * rng.normal(size=count - 1)
    noise, truth = (np.fft.irfft(spectrum[: rate // 2 + 1], rate) * rate for rate in (from_hz, 16_000))
    gain = 30_000 / max(np.abs(noise).max(), np.abs(truth).max())
    found = resample(stored(noise * gain), from_hz, 16_000)
    assert len(found) == len(truth)
    assert np.abs(found - truth * gain)[200:-200].max() <= 4


@pytest.mark.parametrize("pair", [*PAIRS, (16_000, 16_000), (22_255, 16_000)])
@given(
    count=st.integers(0, 4000),
    sizes=st.lists(st.one_of(st.integers(0, 9), st.integers(100, 900)), max_size=60),
    seed=st.integers(0, 99),
)
@settings(max_examples=12, deadline=None)
def test_chunks_change_nothing(pair, count, sizes, seed):
    samples = np.random.default_rng(seed).integers(-32768, 32768, count).astype(np.int16)
    whole = resample(samples, *pair)
    assert len(whole) == (2 * count * pair[1] + pair[0]) // (2 * pair[0])
    np.testing.assert_array_equal(streamed(samples, sizes, *pair), whole)


def test_single_samples_and_long_chunks_change_nothing():
    samples = np.random.default_rng(0).integers(-32768, 32768, 150_000).astype(np.int16)
    whole = resample(samples, 44_100, 16_000)
    np.testing.assert_array_equal(streamed(samples[:3000], [1] * 3000, 44_100, 16_000)[:1000], whole[:1000])
    np.testing.assert_array_equal(streamed(samples, [70_001, 65_536], 44_100, 16_000), whole)


@pytest.mark.parametrize("from_hz", [*TO_16K, 37_800])
def test_no_product_is_large_enough_for_threads(from_hz, monkeypatch):
    """OpenBLAS takes all cores from 2^18 multiplications on, which cost ten times the processor time for a clip."""
    matmul, largest = np.matmul, [0]

    def watched(frames, weights):
        largest.append(frames.shape[1] * weights.shape[1] * weights.shape[2])
        return matmul(frames, weights)

    samples = np.random.default_rng(0).integers(-32768, 32768, 2 * from_hz).astype(np.int16)
    whole = streamed(samples, [from_hz // 50] * 100, from_hz, 16_000)
    monkeypatch.setattr(np, "matmul", watched)
    np.testing.assert_array_equal(resample(samples, from_hz, 16_000), whole)
    assert 1 << 14 < max(largest) < 1 << 18


def test_both_kinds_of_table_give_the_same(monkeypatch):
    """The table of phases, made for a ratio whose filters all fit into it, is exact as well."""
    from edgepress_runtime import resample as module

    samples = np.random.default_rng(0).integers(-32768, 32768, 20_000).astype(np.int16)
    whole = resample(samples, 44_100, 16_000)
    monkeypatch.setattr(module, "_together", lambda up: 1)
    monkeypatch.setattr(module, "_bank", module._bank.__wrapped__)
    np.testing.assert_array_equal(resample(samples, 44_100, 16_000), whole)


def test_the_bits_are_the_same_everywhere():
    """Made once: whole-number arithmetic leaves no room for another processor or another NumPy."""
    import hashlib

    samples = (np.arange(50_000, dtype=np.int64) * 7_919 % 65_536 - 32_768).astype(np.int16)
    for from_hz, digest in DIGESTS.items():
        assert hashlib.sha256(resample(samples, from_hz, 16_000).astype("<i2").tobytes()).hexdigest()[:16] == digest


DIGESTS = {
    8_000: "6b3b96a314c891a1",
    44_100: "b4bc3daec4c7d8e7",
    48_000: "4c57efc54f4f947c",
    44_101: "61e6ddf8a9d6519d",
}


@pytest.mark.parametrize("from_hz", TO_16K)
def test_a_constant_stays_and_full_scale_saturates(from_hz):
    for level in (-32768, -1, 0, 1, 12_345, 32_767):
        found = resample(np.full(from_hz, level, np.int16), from_hz, 16_000)
        assert (found[100:-100] == level).all()
    square = np.where(np.arange(from_hz) * 400 // from_hz % 2, 32_767, -32_768).astype(np.int16)
    found = resample(square, from_hz, 16_000)
    assert found.max() == 32_767 and found.min() == -32_768
    places = np.arange(len(found)) * from_hz // 16_000
    assert np.mean(np.sign(found) != np.sign(square[places])) < 0.06  # at an edge, every 20 samples; never by overflow


def test_flush_begins_a_new_stream():
    samples = np.random.default_rng(0).integers(-32768, 32768, 5_000).astype(np.int16)
    resampler = Resampler(44_100, 16_000)
    whole = resample(samples, 44_100, 16_000)
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate((resampler.push(samples), resampler.flush())), whole)
    resampler.push(samples[:777])
    resampler.reset()
    np.testing.assert_array_equal(np.concatenate((resampler.push(samples), resampler.flush())), whole)
    assert len(resampler.flush()) == 0


@pytest.mark.parametrize("from_hz", [8_000, 44_100, 48_000])
def test_a_stream_lags_by_less_than_8_ms(from_hz):
    resampler = Resampler(from_hz, 16_000)
    given_s = taken_s = 0.0
    block = np.ones(from_hz // 100, np.int16)
    for _ in range(50):
        taken_s += len(block) / from_hz
        given_s += len(resampler.push(block)) / 16_000
        assert taken_s - given_s < 0.008


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Resampler(3_999, 16_000), "a rate of 3999 Hz is outside 4000 to 192000 Hz"),
        (lambda: Resampler(16_000, 192_001), "a rate of 192001 Hz is outside 4000 to 192000 Hz"),
        (
            lambda: resample(np.zeros((2, 2), np.int16), 8_000, 16_000),
            "sound should be int16 in one dimension, not int16 [2, 2]",
        ),
        (
            lambda: resample(np.zeros(2, np.float32), 16_000, 16_000),
            "sound should be int16 in one dimension, not float32 [2]",
        ),
    ],
)
def test_what_is_refused(call, sentence):
    with pytest.raises(EdgepressError) as caught:
        call()
    assert caught.value.what == sentence
