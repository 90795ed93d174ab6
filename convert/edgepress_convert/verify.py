"""Is the converted model still the one that was trained? The same held-out inputs through Keras and through LiteRT."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress_convert import flatbuffer, layers
from edgepress_convert.examples import Examples
from edgepress_convert.layers import LayerError
from edgepress_convert.multipliers import deadly
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import quantize
from edgepress_runtime.manifest import TensorSpec

if TYPE_CHECKING:
    from edgepress_train.keras2 import keras

LAYER_INPUTS = 32  # inputs that the layer comparison runs on; its means are steady well before
MAX_FLOAT_ERROR = 0.05  # of one score; float32 comes within 1e-5 and float16 within a few thousandths


class DropError(EdgepressError):
    """A converted model that is worse than the one it was made from by more than allowed."""


@dataclass(frozen=True)
class Parity:
    """The float Keras model against the .tflite that was made from it, on the same `n` inputs.

    `float_top1`, `model_top1`: share answered right, 0 to 1 (None without labels). `agreement`: share of inputs where
    both give the same answer; `changed`: how many do not. `lost`: right in Keras, wrong in the .tflite; `gained`: the
    other way round. `drop_points`: 100 * (float_top1 - model_top1). `drop_stderr_points`: its standard error from the
    paired counts, sqrt(lost + gained - (lost - gained)^2 / n) / n (McNemar 1947, Psychometrika 12:153). `score_error`:
    the largest difference of one score. `layers`: see `layers.LayerError`; `worst_layer` is where the signal falls
    most.
    """

    n: int
    float_top1: float | None
    model_top1: float | None
    agreement: float
    changed: int
    lost: int | None
    gained: int | None
    drop_points: float | None
    drop_stderr_points: float | None
    score_error: float
    worst_layer: str | None
    layers: tuple[LayerError, ...] = ()


def compare(model: keras.Model, converted: bytes, *, reference: bytes, examples: Examples) -> Parity:
    """Run `examples` through both.

    `reference` is the float32 .tflite of the same model, for the comparison layer by layer. Raises EdgepressError when
    there is no example or the .tflite does not run.
    """
    if not len(examples):
        raise EdgepressError(
            f"there are no validation {examples.noun} to compare the models on", "give data with a val part"
        )
    expected = np.concatenate([model.predict(batch, verbose=0) for batch in examples.batches()])
    found = scores(converted, examples)
    layer_errors = layers.compare(reference, converted, examples.take(_spread(len(examples), LAYER_INPUTS)))
    return judge(expected, found, examples.labels, layer_errors)


def judge(
    expected: np.ndarray, found: np.ndarray, labels: np.ndarray | None, layer_errors: tuple[LayerError, ...] = ()
) -> Parity:
    """Parity of two score tables (n, classes): Keras's and the converted model's."""
    n = len(expected)
    before, after = expected.argmax(axis=1), found.argmax(axis=1)
    changed = int((before != after).sum())
    worst = max(layer_errors, key=lambda layer: layer.loss_db, default=None)
    float_top1 = model_top1 = drop = error = None
    lost = gained = None
    if labels is not None:
        lost = int(((before == labels) & (after != labels)).sum())
        gained = int(((before != labels) & (after == labels)).sum())
        float_top1, model_top1 = float((before == labels).mean()), float((after == labels).mean())
        drop = 100.0 * (lost - gained) / n
        error = 100.0 * math.sqrt(max(0.0, lost + gained - (lost - gained) ** 2 / n)) / n
    return Parity(
        n=n,
        float_top1=float_top1,
        model_top1=model_top1,
        agreement=1.0 - changed / n,
        changed=changed,
        lost=lost,
        gained=gained,
        drop_points=drop,
        drop_stderr_points=error,
        score_error=float(np.abs(expected.astype(np.float64) - found).max()),
        worst_layer=worst.name if worst is not None else None,
        layers=layer_errors,
    )


def gate(parity: Parity, max_drop: float, *, scheme: str, remedies: str, noun: str = "pictures") -> None:
    """Refuse a model that lost more than `max_drop` points. Raises DropError with the measurement and the layer."""
    if parity.drop_points is None or parity.drop_points <= max_drop:
        return
    assert parity.float_top1 is not None and parity.model_top1 is not None
    worst = max(parity.layers, key=lambda layer: layer.loss_db, default=None)
    where = ""
    if worst is not None:
        before, after = worst.channel_snr_db + worst.loss_db, worst.channel_snr_db
        where = f"; worst layer: {worst.name} ({worst.op}), where the signal falls from {before:.0f} to {after:.0f} dB"
    raise DropError(
        f"{scheme} loses {parity.drop_points:.1f} points (allowed: {max_drop:g}) on {parity.n} validation {noun}: "
        f"{100 * parity.float_top1:.1f} % became {100 * parity.model_top1:.1f} %, {parity.lost} answers turned wrong "
        f"and {parity.gained} right, standard error {parity.drop_stderr_points:.1f} points{where}",
        remedies,
    )


def gate_scores(parity: Parity, *, scheme: str, noun: str = "pictures") -> None:
    """Refuse a float model whose scores are not those of Keras, whatever its accuracy. Raises DropError."""
    if parity.score_error > MAX_FLOAT_ERROR:
        raise DropError(
            f"the {scheme} model gives other scores than Keras, by up to {parity.score_error:.2g} on {parity.n} {noun}",
            "this is a fault of the conversion: report the model's layers",
        )


def scores(converted: bytes, examples: Examples) -> np.ndarray:
    """What the .tflite answers: (n, classes) float32, dequantized. Raises EdgepressError when it does not run.

    One that XNNPACK would abort on is run by the plain kernels, so that it can be told how bad it is.
    """
    engine = open_engine(converted, xnnpack=not deadly(flatbuffer.graphs(converted)[0]))
    source, target = engine.inputs[0], engine.outputs[0]
    rows = []
    for batch in examples.batches():
        for example in quantize(batch, source):
            rows.append(dequantize(engine.run(example[np.newaxis])[0], target).reshape(-1))
    return np.stack(rows)


def dequantize(stored: np.ndarray, tensor: TensorSpec) -> np.ndarray:
    """Stored numbers as the reals they stand for, float32: `(stored - zero_point) * scale`."""
    if tensor.scale is None or tensor.zero_point is None:
        return stored.astype(np.float32)
    return (stored.astype(np.float32) - np.float32(tensor.zero_point)) * np.float32(tensor.scale)


def as_json(parity: Parity) -> dict[str, Any]:
    """`parity` for `--json` and manifests: plain values, decibels to one decimal."""
    value = {k: v for k, v in vars(parity).items() if k != "layers"}
    value["layers"] = [layers.as_json(layer) for layer in parity.layers]
    return value


def _spread(n: int, size: int) -> np.ndarray:
    """`size` indexes spread evenly over 0..n-1, all of them when there are fewer."""
    return np.unique(np.linspace(0, n - 1, min(n, size)).astype(np.int64))
