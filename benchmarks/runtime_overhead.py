"""What this runtime costs on top of the bare engine: its whole call against set, invoke, get, taken alternately.

    python benchmarks/runtime_overhead.py [X.edge | model.tflite] [--repeats 9] [--runs 1000] [--threads 1]

Without a model it builds the architecture of MLPerf Tiny's ResNet-8 with random weights in int8 (with TensorFlow, from
the kit's train/ folder). The mark is a ratio of at most 1.03.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from edgepress_runtime.bench import alternate
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.classify import Classifier
from edgepress_runtime.engine import Engine, open_engine
from edgepress_runtime.image import lookup
from edgepress_runtime.manifest import ImageSpec, Manifest

MARK = 1.03


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write-model", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write_model:
        args.write_model.write_bytes(resnet8())
        return 0
    if args.model and args.model.suffix == ".edge":
        bundle = open_bundle(args.model)
        with open_engine(bundle.model, threads=args.threads) as engine:
            return report(engine, bundle.manifest, args)
    with open_engine(args.model.read_bytes() if args.model else built(), threads=args.threads) as engine:
        return report(engine, described(engine), args)


def report(engine: Engine, manifest: Manifest, args: argparse.Namespace) -> int:
    """Print the median ratio of several repeats, with their spread, as one JSON object."""
    spec = manifest.preprocessing
    pixels = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, spec.channels), np.uint8)
    stored = lookup(spec, engine.inputs[0])[pixels, np.arange(spec.channels)][np.newaxis]
    classifier = Classifier(engine, manifest)
    ratios, bare_ms = [], []
    for _ in range(args.repeats):
        ours, bare = alternate(classifier, engine, pixels, stored, runs=args.runs)
        ratios.append(float(np.median(ours) / np.median(bare)))
        bare_ms.append(float(np.median(bare)))
    ratio = float(np.median(ratios))
    result = {
        "overhead_ratio": round(ratio, 4),
        "ratios": [round(r, 4) for r in sorted(ratios)],
        "bare_ms": round(float(np.median(bare_ms)), 4),
        "engine": engine.name,
        "threads": engine.threads,
        "mark": MARK,
        "met": ratio <= MARK,
    }
    print(json.dumps(result))
    return 0 if result["met"] else 1


def described(engine: Engine) -> Manifest:
    """A manifest for a bare model that takes pixels: `pixel - 128` if it is int8, else `pixel / 255`."""
    _, height, width, channels = engine.inputs[0].shape
    labels = tuple(str(i) for i in range(engine.outputs[0].shape[-1]))
    std = 1.0 if (engine.inputs[0].scale or 0) > 0.5 else 255.0
    return Manifest(
        name="bare",
        task="image-classification",
        inputs=engine.inputs,
        outputs=engine.outputs,
        preprocessing=ImageSpec(height, width, channels, mean=(0.0,) * channels, std=(std,) * channels),
        labels=labels,
        members={},
    )


def built() -> bytes:
    """`resnet8`, made in a process of its own, so that TensorFlow neither loads nor warms anything in this one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "resnet8.tflite"
        command = [sys.executable, __file__, "--write-model", str(path)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return path.read_bytes()


def resnet8() -> bytes:
    """MLPerf Tiny's ResNet-8 for 32x32x3 (Banbury et al. 2021) with random weights, int8 inside and out."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    from edgepress_train.keras2 import keras

    layers = keras.layers

    def conv(x, filters, size, stride=1):
        x = layers.Conv2D(filters, size, stride, padding="same")(x)
        return layers.BatchNormalization()(x) if size == 3 else x

    keras.utils.set_random_seed(0)
    given = x = layers.Input((32, 32, 3), batch_size=1)
    x = layers.ReLU()(conv(x, 16, 3))
    for filters, stride in ((16, 1), (32, 2), (64, 2)):
        y = conv(layers.ReLU()(conv(x, filters, 3, stride)), filters, 3)
        x = layers.ReLU()(layers.Add()([conv(x, filters, 1, stride) if stride > 1 else x, y]))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    model = keras.Model(given, layers.Dense(10, activation="softmax")(x))
    rng = np.random.default_rng(0)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    pictures = rng.integers(0, 256, (20, 1, 32, 32, 3)).astype(np.float32)
    converter.representative_dataset = lambda: ([picture] for picture in pictures)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


if __name__ == "__main__":
    sys.exit(main())
