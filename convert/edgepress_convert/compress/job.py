"""What a pass is given to work with: data, a way to train on, and how it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgepress_convert.plan import Plan
from edgepress_train.data.order import steps_per_epoch
from edgepress_train.fit import FitConfig
from edgepress_train.keras2 import keras
from edgepress_train.lessons import Lessons, teach
from edgepress_train.progress import Progress, silent

# Fine-tuning moves the statistics of normalisation and lasts some hundred steps, in which a momentum of 0.99 does not
# catch up: a net of 92.5 % came out of one epoch with 79.5 %.
_MOMENTUM = 0.9


def _unsaid(text: str) -> None:
    """Nobody asked for notes."""


@dataclass(frozen=True)
class Job:
    """One step of a chain.

    `lessons`: the run's own data. `representative` (n, *input) float32: training examples that choose activation
    ranges. `original`: the model that the chain began with, the default teacher; it must not be changed. `plan`: how
    models are quantized at this point of the chain. `lr`: peak learning rate of fine-tuning. `scratch`: this step's own
    folder, for checkpoints. `max_steps` cuts each fine-tuning epoch short, for proxies; None for whole epochs. `note`
    takes what a person should know of this step, a sentence each: layers that were left alone, and why.
    """

    lessons: Lessons
    representative: np.ndarray
    original: keras.Model
    scratch: Path
    plan: Plan = field(default_factory=Plan)
    lr: float = 1e-3
    batch: int = 64
    weight_decay: float = 0.0
    seed: int = 0
    max_steps: int | None = None
    progress: Progress = silent
    note: Callable[[str], None] = _unsaid

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch of fine-tuning."""
        steps = steps_per_epoch(self.lessons.size, self.batch)
        return steps if self.max_steps is None else min(steps, self.max_steps)

    def fine_tune(
        self,
        model: keras.Model,
        *,
        epochs: int,
        lr: float | None = None,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        stage: str = "fine-tune",
    ) -> None:
        """Train `model` in place for so many epochs of the run's data: AdamW, warm-up, cosine to zero.

        An interrupted fine-tuning of the same stage goes on where it was. `stage` tells several of one step apart.
        Zero epochs do nothing.
        """
        if epochs <= 0:
            return
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = min(layer.momentum, _MOMENTUM)
        config = FitConfig(
            epochs=epochs,
            steps_per_epoch=self.steps_per_epoch,
            optimizer="adamw",
            lr=self.lr if lr is None else lr,
            schedule="cosine",
            warmup_epochs=min(1.0, epochs / 10),
            weight_decay=self.weight_decay,
            ema=0.0,
            patience=0,
        )
        out = self.scratch / stage
        out.mkdir(parents=True, exist_ok=True)
        teach(
            model,
            self.lessons,
            config=config,
            batch=self.batch,
            seed=self.seed,
            out=out,
            callbacks=callbacks,
            resume=True,
            progress=self.progress,
        )
