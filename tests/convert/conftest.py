"""One small network and one small data set, built once and never trained: its head is a least-squares solution."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgepress_runtime.image import normalize
from edgepress_runtime.manifest import ImageSpec

LABELS = ("blue", "green", "red")
SPEC = ImageSpec(12, 12, 3, (100.0, 100.0, 100.0), (60.0, 60.0, 60.0))


def picture(rng: np.random.Generator, label: int, size: tuple[int, int] = (12, 12)) -> np.ndarray:
    """Noise with more of one colour: (height, width, 3) uint8."""
    pixels = rng.integers(20, 160, (*size, 3))
    pixels[..., 2 - label] += 60
    return pixels.astype(np.uint8)


def pictures(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`n` pictures and their labels, classes in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(LABELS)
    return np.stack([picture(rng, int(label)) for label in labels]), labels


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 3 x 40 pictures, `class/number.png`."""
    root = tmp_path_factory.mktemp("data") / "colours"
    rng = np.random.default_rng(5)
    for index, label in enumerate(LABELS):
        (root / label).mkdir(parents=True)
        for number in range(40):
            Image.fromarray(picture(rng, index)).save(root / label / f"{number:02}.png")
    return root


@pytest.fixture(scope="session")
def network():
    """12x12x3 -> convolution -> depthwise -> mean -> dense, right on almost every picture.

    The last channel is dead, and its depthwise weights are a thousand times the others', as pruned or dead channels of
    real networks are: harmless with a scale a channel, fatal with one scale for all.
    """
    from edgepress_train.keras2 import keras

    inputs = keras.Input((12, 12, 3), name="image")
    x = keras.layers.Conv2D(8, 1, activation="relu", name="mix")(inputs)
    x = keras.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="blur")(x)
    features = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    outputs = keras.layers.Dense(3, activation="softmax", name="head")(features)
    model = keras.Model(inputs, outputs, name="colours")
    rng = np.random.default_rng(3)
    mix = rng.normal(size=(1, 1, 3, 8)).astype(np.float32)
    mix[..., 7] = 0
    model.get_layer("mix").set_weights([mix, np.array([0.1] * 7 + [-1.0], np.float32)])
    blur = rng.uniform(0.05, 0.15, size=(3, 3, 8, 1)).astype(np.float32)
    blur[:, :, 7] *= 10_000
    model.get_layer("blur").set_weights([blur, np.linspace(0.01, 0.08, 8, dtype=np.float32)])
    pixels, labels = pictures(240, seed=1)
    seen = np.asarray(keras.Model(inputs, features)(normalize(pixels, SPEC)))
    table = np.concatenate([seen, np.ones((len(seen), 1))], axis=1)
    solution = np.linalg.lstsq(table, 8.0 * np.eye(3)[labels], rcond=None)[0].astype(np.float32)
    model.get_layer("head").set_weights([solution[:8], solution[8]])
    return model


@pytest.fixture(scope="session")
def representative() -> np.ndarray:
    return normalize(pictures(60, seed=2)[0], SPEC)


@pytest.fixture(scope="session")
def made(network, representative) -> dict[str, bytes]:
    """The network under every scheme."""
    from edgepress_convert import quantize

    return quantize.convert(network, tuple(quantize.SCHEMES), representative=representative)


@pytest.fixture(scope="session")
def run_folder(network, colours, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN folder as a training leaves it."""
    from edgepress_train import run
    from edgepress_train.data.sources import open_dataset

    path = tmp_path_factory.mktemp("runs") / "colours"
    path.mkdir()
    dataset = open_dataset(str(colours))
    run.save(
        run.Run(
            path=path,
            task="image-classification",
            command="edgepress train image --data colours",
            config={"arch": "by-hand"},
            labels=dataset.labels,
            preprocessing=SPEC,
            data=dataset.describe(),
            metrics={},
        ),
        network,
    )
    return path


@pytest.fixture(scope="session")
def bundle_file(made, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The int8 network as a bundle."""
    path = tmp_path_factory.mktemp("bundles") / "colours.edge"
    pack(path, made["int8"])
    return path


def pack(path: Path, model: bytes, **changes):
    """Pack `model` with the test data's labels and golden cases; `changes` override arguments."""
    from edgepress_convert import bundle, flatbuffer
    from edgepress_runtime.image import quantize

    graph = flatbuffer.graphs(model)[0]
    stored = quantize(normalize(pictures(24, seed=4)[0], SPEC), flatbuffer.specs(graph, graph.inputs)[0])
    arguments = {
        "name": "colours",
        "task": "image-classification",
        "labels": LABELS,
        "preprocessing": SPEC,
        "golden": bundle.golden_cases(model, stored),
        "created": "2026-11-25T00:00:00+00:00",
    }
    return bundle.pack(path, model, **{**arguments, **changes})


def edgepress(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command line as a real process."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "COLUMNS": "120"}
    command = [sys.executable, "-m", "edgepress_convert.cli.app", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False)
