"""What an encoder is asked to do without labels. `PAIRED` and `MASKED` name the methods; each file has one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgepress_train.pretrain.objectives import barlow_twins, masked, simclr, vicreg

# (first, second), the projections (n, width) of two views of the same n examples -> a loss, ()
PAIRED: dict[str, Callable[..., Any]] = {
    "simclr": simclr.loss,
    "barlow-twins": barlow_twins.loss,
    "vicreg": vicreg.loss,
}
# (seed, shape of a batch) -> what is hidden of it, 1 or 0
MASKED: dict[str, Callable[..., Any]] = {"masked": masked.patches}
MASKED_SPEECH: dict[str, Callable[..., Any]] = {"masked": masked.spans}
