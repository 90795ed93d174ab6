from __future__ import annotations

import numpy as np
import pytest

from edgepress_train import models
from edgepress_train.models import frozen

FRAMES = 108  # five steps of the embedding


@pytest.fixture(scope="module")
def model():
    return models.build("speech-embedding:head=4", (FRAMES, 32, 1), 2, archs=models.SPEECH_ARCHS)


def test_the_parts_answer_as_the_whole_wherever_the_window_lies(model):
    part = frozen.parted(model)
    assert (part.stride, part.steps) == (8, 5)
    long = np.random.default_rng(0).normal(3, 2, (2, FRAMES + 16, 32)).astype(np.float16)
    heard = part.look(long, 3.0, 2.0)
    assert heard.shape == (2, 7, 96) and heard.dtype == np.float16
    for step in range(3):
        window = (long[:, 8 * step : 8 * step + FRAMES].astype(np.float32) - 3) / 2
        parts = part.head(heard[:, step : step + 5, :, np.newaxis].astype(np.float32)).numpy()
        assert np.abs(parts - model(window[..., np.newaxis]).numpy()).max() < 2e-3


def test_the_head_is_the_nets_own(model):
    head = frozen.parted(model).head
    assert {w.ref() for w in head.trainable_weights} == {w.ref() for w in model.trainable_weights}


def test_after_scaling_every_channel_has_mean_0_and_deviation_1_and_the_parts_still_agree(model):
    part = frozen.parted(model)
    sound = np.random.default_rng(1).normal(0, 1, (3, FRAMES, 32)).astype(np.float16)
    scaled = frozen.standardized(part, model, part.look(sound, 0.0, 1.0))
    assert np.abs(scaled.astype(np.float64).mean(axis=(0, 1))).max() < 0.01
    assert np.abs(scaled.astype(np.float64).std(axis=(0, 1)) - 1).max() < 0.01
    again = part.look(sound, 0.0, 1.0)
    assert np.abs(again.astype(np.float32) - scaled).max() < 0.02
    whole = model(sound[..., np.newaxis].astype(np.float32)).numpy()
    assert np.abs(part.head(scaled[..., np.newaxis].astype(np.float32)).numpy() - whole).max() < 0.01


def test_a_net_without_a_frozen_beginning_is_not_parted():
    whole = models.build("speech-embedding:head=4:frozen=false", (FRAMES, 32, 1), 2, archs=models.SPEECH_ARCHS)
    assert frozen.parted(whole) is None
    whole.layers[-3].trainable = False  # frozen at the end
    assert frozen.parted(whole) is None
