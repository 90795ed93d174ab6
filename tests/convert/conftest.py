"""One small network and data set of each kind, built once and never trained: heads are least-squares solutions.

The "words" are tones: `ping` is high, `pong` is low, and what lies between, noise and silence are `unknown`.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tempfile
import warnings
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.convert import sshd

from edgepress_runtime.image import normalize
from edgepress_runtime.manifest import ImageSpec, SpeechSpec

LABELS = ("blue", "green", "red")
SPEC = ImageSpec(12, 12, 3, (100.0, 100.0, 100.0), (60.0, 60.0, 60.0))
TONES = {"ping": 2600.0, "pong": 500.0}
SPOKEN = ("ping", "pong", "unknown")
HEARING = SpeechSpec("log-mel", bands=12, mean=10.8, std=4.1)
WINDOW_FRAMES = 24


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


def examples(pixels: np.ndarray, labels: np.ndarray | None = None, *, spec: ImageSpec = SPEC):
    """Pictures as what models are compared on."""
    from edgepress_convert.examples import Examples

    return Examples(pixels, lambda part: normalize(part, spec), labels, "pictures")


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


def utterance(label: str, rng: np.random.Generator, seconds: float = 0.9) -> np.ndarray:
    """A tone of 0.35 s somewhere in faint noise, (n,) int16; `unknown` is another tone, or louder noise alone."""
    count = int(seconds * HEARING.rate_hz)
    sound = rng.normal(0, 30, count)
    hertz = TONES.get(label, 1250.0)
    length = int(0.35 * HEARING.rate_hz)
    at = int(rng.integers(0, count - length))
    if label in TONES or rng.random() < 0.5:
        ramp = np.minimum(1, np.minimum(np.arange(length), np.arange(length)[::-1]) / 300)
        pitch = hertz * rng.uniform(0.95, 1.05)
        sound[at : at + length] += rng.uniform(2000, 9000) * ramp * np.sin(np.arange(length) * 2 * np.pi * pitch / 16e3)
    else:
        sound *= rng.uniform(1, 60)
    return np.clip(sound, -32768, 32767).astype(np.int16)


def write_wav(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(HEARING.rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())


def say(root: Path, counts: dict[str, int], seed: int, **options) -> Path:
    """`root/LABEL/number.wav`, so many of each label."""
    rng = np.random.default_rng(seed)
    for label, count in counts.items():
        for number in range(count):
            write_wav(root / label / f"{number:03}.wav", utterance(label.rpartition("/")[2], rng, **options))
    return root


def heard_windows(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, frames, bands) of windows that hold one whole tone, or none, and their labels, in turn."""
    from edgepress_runtime.features import features

    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(SPOKEN)
    length = HEARING.window + (WINDOW_FRAMES - 1) * HEARING.hop
    found = [features(utterance(SPOKEN[i], rng, length / HEARING.rate_hz), HEARING) for i in labels]
    return np.stack(found).astype(np.float16), labels.astype(np.int64)


@pytest.fixture(scope="session")
def spotter_net():
    """24 x 12 features -> convolution over all bands -> depthwise, beside it a residual -> pool -> three scores."""
    from edgepress_train.keras2 import keras

    keras.utils.set_random_seed(4)
    layers = keras.layers
    inputs = keras.Input((WINDOW_FRAMES, HEARING.features, 1))
    x = layers.Conv2D(24, (2, HEARING.features), (2, 1), activation="relu")(inputs)
    y = layers.DepthwiseConv2D((3, 1))(x)
    x = layers.ReLU()(layers.Add()([layers.Cropping2D(((1, 1), (0, 0)))(x), y]))
    x = layers.MaxPooling2D((x.shape[1], 1), (1, 1))(x)
    seen = keras.Model(inputs, layers.Flatten()(x))
    outputs = layers.Softmax()(layers.Flatten()(layers.Conv2D(3, 1, name="head")(x)))
    model = keras.Model(inputs, outputs, name="tones")
    features, labels = heard_windows(600, seed=1)
    table = np.asarray(seen(features[..., np.newaxis].astype(np.float32)))
    table = np.concatenate([table, np.ones((len(table), 1))], axis=1)
    wanted = 9.0 * np.eye(3)[labels]
    solution = np.linalg.solve(table.T @ table + 0.1 * np.eye(table.shape[1]), table.T @ wanted).astype(np.float32)
    model.get_layer("head").set_weights([solution[np.newaxis, np.newaxis, :-1], solution[-1]])
    return model


@pytest.fixture(scope="session")
def speech_run(spotter_net, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN folder as the training of a spotter leaves it, with validation sound."""
    from edgepress_train import run

    path = tmp_path_factory.mktemp("runs") / "tones"
    path.mkdir()
    parts = {"train": heard_windows(240, seed=1), "val": heard_windows(120, seed=2)}
    arrays = {f"{part}_features": found for part, (found, _) in parts.items()}
    np.savez_compressed(path / "features.npz", **arrays, **{f"{part}_labels": two for part, (_, two) in parts.items()})
    say(path / "validation" / "positives", dict.fromkeys(TONES, 8), seed=5)
    say(path / "validation", {"negatives/unknown": 12}, seed=6, seconds=3.0)
    for file in (path / "validation" / "negatives" / "unknown").iterdir():
        file.rename(path / "validation" / "negatives" / file.name)
    (path / "validation" / "negatives" / "unknown").rmdir()
    run.save(
        run.Run(
            path=path,
            task="keyword-spotting",
            command="edgepress train speech --data tones",
            config={"arch": "by-hand"},
            labels=SPOKEN,
            preprocessing=HEARING,
            data={"name": "tones", "fingerprint": "5" * 64},
            metrics={},
        ),
        spotter_net,
    )
    return path


def convert_here(model, schemes, *, representative=None, weights="per-channel") -> dict[str, bytes]:
    """What `quantize.convert` makes in a child process, made in this one, which has TensorFlow already."""
    from edgepress_convert import converter, quantize

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize.export(model, Path(folder))
        made = {}
        for name in schemes:
            wanted = dataclasses.asdict(quantize.SCHEMES[name])
            made[name] = quantize.compact(converter.convert(Path(folder), wanted, representative, weights))
    return made


@pytest.fixture(scope="session")
def spotter_file(speech_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run as an int8 bundle, made by `convert`."""
    from edgepress_convert import quantize
    from edgepress_convert.convert import ConvertConfig, convert

    path = tmp_path_factory.mktemp("bundles") / "tones.edge"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "convert", convert_here)
        convert(ConvertConfig(speech_run, path))
    return path


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


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A board over SSH; see `sshd.served`."""
    yield from sshd.served(tmp_path_factory.mktemp("sshd"))
