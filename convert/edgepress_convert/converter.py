"""The child process that runs TensorFlow's converter: `python -m edgepress_convert.converter FOLDER`.

FOLDER holds `saved_model`, `job.json` and perhaps `representative.npy`; it gets one `SCHEME.tflite` each, or
`failure.json` and exit code 1. `began` names the scheme at work, for the parent to read if this process dies.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def main(folder: Path) -> int:
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    stored = folder / "representative.npy"
    representative = np.load(stored, allow_pickle=False) if stored.is_file() else None
    for name, scheme in job["schemes"].items():
        (folder / "began").write_text(name, encoding="utf-8")
        try:
            data = convert(folder / "saved_model", scheme, representative, job["weights"])
        except Exception as error:  # noqa: BLE001  (the converter raises anything; the parent tells it in one sentence)
            told = {"scheme": name, "error": str(error) or type(error).__name__}
            (folder / "failure.json").write_text(json.dumps(told), encoding="utf-8")
            return 1
        (folder / f"{name}.tflite").write_bytes(data)
    return 0


def convert(saved_model: Path, scheme: Mapping[str, Any], representative: np.ndarray | None, weights: str) -> bytes:
    """The SavedModel as .tflite bytes; `scheme` holds the fields of `quantize.Scheme`."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if scheme["weights"] == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if scheme["weights"] != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if scheme["representative"]:
        assert representative is not None
        examples = representative

        def batches() -> Iterator[dict[str, np.ndarray]]:
            for example in examples:
                yield {"input": example[np.newaxis]}

        integer = {
            "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
            "int16": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
        }
        converter.representative_dataset = batches
        converter.target_spec.supported_ops = [integer[scheme["activations"]]]
        converter.inference_output_type = tf.as_dtype(scheme["io"])
        if examples.dtype != np.int32:  # ids go in as they are, which the converter takes for granted
            converter.inference_input_type = tf.as_dtype(scheme["io"])
    if weights != "per-channel":
        # TensorFlow has these two switches only under a leading underscore.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
        converter._experimental_disable_per_channel = weights == "per-tensor"
    return converter.convert()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
