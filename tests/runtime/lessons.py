"""A tiny bundle that can be taught, built without TensorFlow: colours told by the means of their channels."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from PIL import Image
from tests.runtime.conftest import SIZE, SPEC, FlatModel, described, npz, zipped

LABELS = ("red", "green", "blue")
COLOURS = {"red": (200, 60, 60), "green": (60, 200, 60), "blue": (60, 60, 200), "white": (210, 210, 210)}
EMBEDDING = 6
KEPT = 12  # of each class
_OPS, _OPTIONS = schema.BuiltinOperator, schema.BuiltinOptions


def picture(colour: str, rng: np.random.Generator) -> np.ndarray:
    """(6, 5, 3) uint8, one colour with noise."""
    return np.clip(rng.normal(COLOURS[colour], 25, SIZE), 0, 255).astype(np.uint8)


def pictures(colour: str, count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [picture(colour, rng) for _ in range(count)]


def save(folder: Path, colour: str, count: int, seed: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{colour}{seed}-{i}.png" for i in range(count)]
    for path, pixels in zip(paths, pictures(colour, count, seed)):
        Image.fromarray(pixels).save(path)
    return paths


def layers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first (6, 90), weights (6, 3), bias (3,)): means of the channels and of their mixtures, then the nearest."""
    channels = np.tile(np.eye(3), int(np.prod(SIZE[:2]))) / np.prod(SIZE[:2])
    mixtures = np.random.default_rng(0).normal(0, 0.6, (3, 3)) @ channels
    first = np.concatenate([channels, mixtures]).astype(np.float32)
    means = np.stack([embedding(np.full(SIZE, COLOURS[label], np.uint8), first) for label in LABELS])
    return first, (20 * means.T).astype(np.float32), (-10 * (means**2).sum(axis=1)).astype(np.float32)


def embedding(pixels: np.ndarray, first: np.ndarray) -> np.ndarray:
    """What the model's first layer makes of (6, 5, 3) uint8: (6,) float32."""
    return first @ (pixels.astype(np.float32).ravel() / 255)


def model() -> bytes:
    """(1, 6, 5, 3) float32 -> dense, the second output -> dense and softmax, the first."""
    first, weights, bias = layers()
    flat = FlatModel()
    given = flat.tensor((1, *SIZE), "float32", name="pixels")
    inner = flat.tensor((1, EMBEDDING), "float32", name="embedding")
    middle = flat.tensor((1, len(LABELS)), "float32")
    scores = flat.tensor((1, len(LABELS)), "float32", name="scores")
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    for source, w, b, target in (
        (given, flat.tensor(first.shape, "float32", data=first), -1, inner),
        (
            inner,
            flat.tensor(weights.T.shape, "float32", data=np.ascontiguousarray(weights.T)),
            flat.tensor(bias.shape, "float32", data=bias),
            middle,
        ),
    ):
        dense = schema.FullyConnectedOptionsT()
        flat.operator(_OPS.FULLY_CONNECTED, [source, w, b], [target], dense, _OPTIONS.FullyConnectedOptions)
    flat.operator(_OPS.SOFTMAX, [middle], [scores], softmax, _OPTIONS.SoftmaxOptions)
    flat.graph.inputs, flat.graph.outputs = [given], [scores, inner]
    return flat.finish()


def members(*, name: str = "colours", seed: int = 0, head: dict[str, np.ndarray] | None = None, **changes: Any):
    """The members of a whole bundle. `head` replaces arrays of its `head.npz`, `changes` keys of its manifest."""
    from tests.runtime.conftest import bare_run

    first, weights, bias = layers()
    built = model()
    inputs, outputs = described(built)
    cases = np.stack([picture(label, np.random.default_rng(seed)) for label in LABELS]).astype(np.float32) / 255
    kept = [embedding(p, first) for label in LABELS for p in pictures(label, KEPT, 100 + seed)]
    arrays = {
        "weights": weights,
        "bias": bias,
        "kept": np.stack(kept).astype(np.float32),
        "kept_labels": np.repeat(np.arange(3), KEPT).astype(np.int32),
        **(head or {}),
    }
    found = {
        "labels.txt": "".join(f"{label}\n" for label in LABELS).encode(),
        "golden.npz": npz(inputs=cases, outputs=np.stack([bare_run(built, case[np.newaxis])[0] for case in cases])),
        "head.npz": npz(**arrays),
        "model.tflite": built,
    }
    manifest = {
        "format": 1,
        "name": name,
        "task": "image-classification",
        "inputs": inputs,
        "outputs": outputs,
        "preprocessing": SPEC,
        "labels": list(LABELS),
        "members": {member: hashlib.sha256(data).hexdigest() for member, data in found.items()},
        "thresholds": {},
        "metrics": {},
        "recipe": {"seed": seed},
        "tools": {},
        "created": "2026-11-25T00:00:00Z",
        "detection": None,
        "teaching": {"output": 1, "size": EMBEDDING},
        "version": 1,
        **changes,
    }
    return {"manifest.json": json.dumps(manifest).encode(), **found}


def write(path: Path, **options: Any) -> Path:
    path.write_bytes(zipped(members(**options)))
    return path
