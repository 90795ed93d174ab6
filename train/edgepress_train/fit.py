"""The only training loop: optimizer, schedule, checkpoints, early stopping, history, progress.

A training method brings a Keras model (with a `train_step` of its own if it needs one), a loss and a batch function.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train.data.order import steps_per_epoch
from edgepress_train.keras2 import keras
from edgepress_train.progress import Progress, silent

OPTIMIZERS = ("adam", "adamw", "sgd")
_CHECKPOINT_EVERY_S = 30.0


@dataclass(frozen=True)
class FitConfig:
    """How to optimise; see `TrainConfig` for the meaning and unit of each field."""

    epochs: int
    steps_per_epoch: int
    optimizer: str
    lr: float
    schedule: str
    warmup_epochs: float
    weight_decay: float
    ema: float
    patience: int


def fit_config(config: Any, examples: int) -> FitConfig:
    """The part of a `TrainConfig` or `SpeechConfig` that this loop needs, for so many training examples."""
    names = {field.name for field in dataclasses.fields(FitConfig)} - {"steps_per_epoch"}
    values = {name: getattr(config, name) for name in names}
    return FitConfig(steps_per_epoch=steps_per_epoch(examples, config.batch), **values)


@dataclass(frozen=True)
class Fitted:
    """What a training came to: epochs that ran, the epoch whose weights were kept, and seconds of training in all."""

    epochs: int
    kept_epoch: int
    seconds: float


def fit(
    model: keras.Model,
    batches: Callable[[int, int], tf.data.Dataset],
    *,
    config: FitConfig,
    out: Path,
    loss: Any = None,
    metrics: Sequence[Any] = (),
    val: tf.data.Dataset | None = None,
    monitor: str = "val_accuracy",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    resume: bool = False,
    progress: Progress = silent,
) -> Fitted:
    """Train `model` in place; `batches(start, stop)` gives the batches of those step numbers.

    Checkpoints go to `out/checkpoints` (with `resume` the last one is continued, bit for bit in data order and
    schedule), one row an epoch to `out/history.csv`. With `patience` the weights of the best epoch by `monitor` (higher
    is better) are kept, else those of the last, averaged when `ema` is set.
    """
    model.compile(optimizer=build_optimizer(config), loss=loss, weighted_metrics=list(metrics))
    tracker = _Tracker(model, config, out, monitor, progress)
    start = tracker.restore() if resume else 0
    if start < config.epochs and not tracker.stopped:
        steps = config.steps_per_epoch
        model.fit(
            batches(start * steps, config.epochs * steps),
            initial_epoch=start,
            epochs=config.epochs,
            steps_per_epoch=steps,
            validation_data=val,
            callbacks=[*callbacks, tracker],
            verbose=0,
        )
    return tracker.finish()


def build_optimizer(config: FitConfig) -> keras.optimizers.Optimizer:
    """The optimizer of `config`; weight decay is decoupled and spares biases and normalisation (AdamW and SGD)."""
    schedule = build_schedule(config)
    average = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    if config.optimizer == "adam":
        return keras.optimizers.Adam(schedule, **average)
    if config.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, **average)
    elif config.optimizer == "sgd":
        # Keras takes the decay out of the weights at the learning rate, as decoupled decay does
        optimizer = keras.optimizers.SGD(
            schedule, momentum=0.9, nesterov=True, weight_decay=config.weight_decay or None, **average
        )
    else:
        raise EdgepressError(f"unknown optimizer {config.optimizer!r}", f"known: {', '.join(OPTIMIZERS)}")
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def build_schedule(config: FitConfig) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up, then `cosine` to zero, `constant`, or `exponential:RATE` (times RATE after each epoch)."""
    name, _, rate = config.schedule.partition(":")
    if name not in ("cosine", "constant", "exponential"):
        raise EdgepressError(f"unknown schedule {config.schedule!r}", "known: cosine, constant, exponential:RATE")
    try:
        decay = float(rate) if name == "exponential" else 1.0
    except ValueError:
        raise EdgepressError(f"schedule {config.schedule!r} lacks its rate", "write exponential:0.99") from None
    if not 0 < decay <= 1 or (rate and name != "exponential"):
        raise EdgepressError(f"schedule {config.schedule!r} has an impossible rate", "write exponential:0.99")
    return _Schedule(name, config.lr, config.epochs, config.steps_per_epoch, config.warmup_epochs, decay)


class _Schedule(keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, name: str, lr: float, epochs: int, steps: int, warmup_epochs: float, decay: float) -> None:
        self.name, self.lr, self.epochs, self.steps = name, lr, epochs, steps
        self.warmup_epochs, self.decay = min(warmup_epochs, epochs / 2), decay

    def __call__(self, step):
        epoch = tf.cast(step, tf.float32) / self.steps
        ramp = tf.minimum(1.0, (tf.cast(step, tf.float32) + 1) / max(1.0, self.warmup_epochs * self.steps))
        if self.name == "cosine":
            done = (epoch - self.warmup_epochs) / max(1e-9, self.epochs - self.warmup_epochs)
            return self.lr * ramp * 0.5 * (1 + tf.cos(math.pi * tf.clip_by_value(done, 0.0, 1.0)))
        return self.lr * ramp * tf.pow(self.decay, tf.floor(epoch))

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "lr": self.lr,
            "epochs": self.epochs,
            "steps": self.steps,
            "warmup_epochs": self.warmup_epochs,
            "decay": self.decay,
        }


class _Tracker(keras.callbacks.Callback):
    """Keeps history, checkpoints and the best weights, stops early, and tells how far it is."""

    def __init__(self, model: keras.Model, config: FitConfig, out: Path, monitor: str, progress: Progress) -> None:
        super().__init__()
        self.config, self.out, self.monitor, self.progress = config, out, monitor, progress
        self.rows: list[dict[str, float]] = []
        self.best, self.best_epoch, self.seconds = -math.inf, 0, 0.0
        self.stopped = False
        self._trained = model
        self._note = ""
        self._checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer)
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(out / "checkpoints"), max_to_keep=2)
        self._saved_at = time.monotonic()

    @property
    def _best_path(self) -> Path:
        return self.out / "checkpoints" / "best.weights.h5"

    def restore(self) -> int:
        """The epoch to go on with: the one after the last checkpoint, 0 when there is none."""
        if not self._manager.latest_checkpoint:
            return 0
        self._trained.optimizer.build(self._trained.trainable_variables)
        self._checkpoint.restore(self._manager.latest_checkpoint).assert_existing_objects_matched()
        epoch = int(self._manager.latest_checkpoint.rsplit("-", 1)[1])
        state = json.loads((self.out / "checkpoints" / f"state-{epoch}.json").read_text(encoding="utf-8"))
        self.rows, self.best, self.best_epoch = state["rows"], state["best"], state["best_epoch"]
        self.seconds, self.stopped = state["seconds"], state["stopped"]
        return epoch

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._began = time.monotonic()
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        steps = self.config.steps_per_epoch
        self.progress("train", self._epoch * steps + batch + 1, self.config.epochs * steps, self._note)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        logs = {key: float(value) for key, value in (logs or {}).items()}
        if not math.isfinite(logs.get("loss", 0.0)):
            raise EdgepressError(
                f"the training diverged in epoch {epoch + 1}: the loss is {logs['loss']}", "lower --lr and train again"
            )
        self.seconds += time.monotonic() - self._began
        self.rows.append({"epoch": epoch + 1, "seconds": round(time.monotonic() - self._began, 3), **logs})
        score = logs.get(self.monitor)
        if self.config.patience and score is not None:
            if score > self.best:
                self.best, self.best_epoch = score, epoch + 1
                self._best_path.parent.mkdir(parents=True, exist_ok=True)
                self._trained.save_weights(self._best_path)
            elif epoch + 1 - self.best_epoch >= self.config.patience:
                self.stopped = self._trained.stop_training = True
        shown = self.monitor if self.monitor in logs else "loss"
        self._note = f"epoch {epoch + 1}/{self.config.epochs} · loss {logs['loss']:.4f}" + (
            f" · {shown} {logs[shown]:.4f}" if shown != "loss" else ""
        )
        self.progress(
            "train",
            (epoch + 1) * self.config.steps_per_epoch,
            self.config.epochs * self.config.steps_per_epoch,
            self._note,
        )
        last = epoch + 1 == self.config.epochs or self.stopped
        if last or time.monotonic() - self._saved_at > _CHECKPOINT_EVERY_S:
            self._save(epoch + 1)

    def _save(self, epoch: int) -> None:
        folder = self.out / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        state = {"rows": self.rows, "best": self.best, "best_epoch": self.best_epoch}
        state |= {"seconds": self.seconds, "stopped": self.stopped}
        # The state comes first: a checkpoint that the manager lists always has one.
        (folder / f"state-{epoch}.json").write_text(json.dumps(state), encoding="utf-8")
        self._manager.save(checkpoint_number=epoch)
        kept = {path.rsplit("-", 1)[1] for path in self._manager.checkpoints}
        for old in folder.glob("state-*.json"):
            if old.stem.rsplit("-", 1)[1] not in kept:
                old.unlink()
        self._write_history()
        self._saved_at = time.monotonic()

    def _write_history(self) -> None:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with (self.out / "history.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)

    def finish(self) -> Fitted:
        if self.config.patience and self._best_path.is_file():
            self._trained.load_weights(self._best_path)
        elif self.config.ema:
            self._trained.optimizer.finalize_variable_values(self._trained.trainable_variables)
        self._write_history()
        kept = self.best_epoch if self.config.patience and self.best_epoch else len(self.rows)
        return Fitted(len(self.rows), kept, self.seconds)
