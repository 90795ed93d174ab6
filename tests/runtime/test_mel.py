"""Window, mel scale, filters and cosine transform: librosa's published tables, and the formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgepress_runtime import mel

SHAPES = [
    (16_000, 512, 40, 60.0, 7600.0),
    (16_000, 512, 32, 60.0, 3800.0),
    (8_000, 256, 40, 20.0, 3900.0),
    (16_000, 512, 128, 0.0, 8000.0),  # narrower than the bins at the bottom
    (48_000, 2048, 80, 0.0, 24_000.0),
    (44_100, 1024, 1, 90.0, 140.0),
]
# From the documentation of librosa.mel_frequencies: 40 of them up to 11,025 Hz.
PUBLISHED = """
    0 85.317 170.635 255.952 341.269 426.586 511.904 597.221 682.538 767.855 853.173 938.49 1024.856 1119.114 1222.042
    1334.436 1457.167 1591.187 1737.532 1897.337 2071.84 2262.393 2470.47 2697.686 2945.799 3216.731 3512.582 3835.643
    4188.417 4573.636 4994.285 5453.621 5955.205 6502.92 7101.009 7754.107 8467.272 9246.028 10096.408 11025
"""


def test_the_scale_is_librosas():
    np.testing.assert_allclose(mel.edges(38, 0.0, 11_025.0), [float(hz) for hz in PUBLISHED.split()], atol=6e-4)
    np.testing.assert_allclose(mel.hz_to_mel(np.array([60, 110, 220, 440])), [0.9, 1.65, 3.3, 6.6])
    np.testing.assert_allclose(mel.mel_to_hz(np.array([1, 2, 3, 4, 5])), np.array([200, 400, 600, 800, 1000]) / 3)
    hz = np.concatenate((np.linspace(0, 24_000, 999), [999.999, 1000.0, 1000.001]))
    np.testing.assert_allclose(mel.mel_to_hz(mel.hz_to_mel(hz)), hz, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_filters_are_triangles_of_area_1(shape):
    rate_hz, size, bands, low_hz, high_hz = shape
    corners = mel.edges(bands, low_hz, high_hz)
    found = mel.filters(*shape)
    for band in range(bands):
        begin, peak, end = corners[band : band + 3]
        for index in range(size // 2 + 1):
            hz = index * rate_hz / size
            share = (hz - begin) / (peak - begin) if hz <= peak else (end - hz) / (end - peak)
            assert math.isclose(found[band, index], max(0.0, share) * 2 / (end - begin), rel_tol=1e-9, abs_tol=1e-15)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_bank_sums_what_the_filters_weigh(shape):
    power = np.random.default_rng(0).exponential(1e6, (7, shape[1] // 2 + 1))
    bank = mel.Bank(*shape)
    found = bank.energies(power[:, bank.bins])
    np.testing.assert_allclose(found, power @ mel.filters(*shape).T, rtol=1e-12)
    for row, expected in zip(power, found):
        np.testing.assert_array_equal(bank.energies(row[np.newaxis, bank.bins])[0], expected)


def test_bands_without_a_bin_are_silent():
    shape = (16_000, 512, 40, 101.0, 119.0)  # between the bins at 93.75 and 125 Hz
    bank = mel.Bank(*shape)
    assert not bank.energies(np.ones((3, 257))[:, bank.bins]).any()
    assert not mel.filters(*shape).any()


def test_the_window_and_the_cosine_transform():
    for size in (16, 480, 481):
        np.testing.assert_allclose(mel.hann(size), np.hanning(size + 1)[:-1], atol=1e-15)
    for size in (1, 2, 40):
        rows = mel.dct(size)
        np.testing.assert_allclose(rows @ rows.T, np.eye(size), atol=1e-12)
        for k in range(size):
            wave = [math.cos(math.pi * k * (2 * n + 1) / (2 * size)) for n in range(size)]
            np.testing.assert_allclose(rows[k] / rows[k, 0], np.array(wave) / wave[0], atol=1e-9)
            assert rows[k, 0] > 0
