"""Layer errors against sums written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from tests.convert.conftest import SPEC, examples, pictures

from edgepress_convert import layers, verify
from edgepress_convert.layers import CEILING_DB
from edgepress_runtime.image import normalize


def test_an_exact_copy_loses_nothing(made: dict[str, bytes], representative: np.ndarray) -> None:
    found = layers.compare(made["float32"], made["float32"], representative[:3])
    assert [layer.op for layer in found] == ["CONV_2D", "DEPTHWISE_CONV_2D", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]
    assert {(layer.snr_db, layer.channel_snr_db, layer.loss_db) for layer in found} == {(CEILING_DB, CEILING_DB, 0.0)}


def test_the_last_layer_is_the_error_of_the_scores(made: dict[str, bytes]) -> None:
    pixels, _ = pictures(8, seed=7)
    last = layers.compare(made["float32"], made["int16x8"], normalize(pixels, SPEC))[-1]
    expected = verify.scores(made["float32"], examples(pixels)).astype(np.float64)
    found = verify.scores(made["int16x8"], examples(pixels)).astype(np.float64)
    by_hand = 10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum())
    assert last.snr_db == pytest.approx(by_hand, abs=0.5)


@pytest.mark.parametrize("scheme", ["float16", "dynamic", "int8", "int16x8"])
def test_every_layer_has_a_partner(scheme: str, made: dict[str, bytes], representative: np.ndarray) -> None:
    found = layers.compare(made["float32"], made[scheme], representative[:4])
    assert len(found) == 5
    # The float16 weights alone leave 60 dB, int8 ones 35 dB; the dead channel is exact everywhere.
    floor = {"float16": 50, "dynamic": 100, "int8": 15, "int16x8": 25}[scheme]
    assert all(layer.snr_db > floor for layer in found), found


def test_a_lost_weak_channel_shows_in_the_channel_mean_only() -> None:
    signal, noise = np.array([1e6, 1.0]), np.array([1.0, 5.0])
    assert layers._db(signal.sum(), noise.sum()) > 50
    assert layers._channel_snr_db(signal, noise) == pytest.approx(10 * np.log10(1 / 0.5), abs=1e-3)
    assert layers._channel_snr_db(np.array([1.0, 0.0]), np.array([0.0, 0.0])) == CEILING_DB
