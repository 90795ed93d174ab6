"""Tiny streaming models, built without TensorFlow, and bundles of them."""

from __future__ import annotations

import hashlib
import json
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from tests.runtime.conftest import FlatModel, described, npz, zipped

LABELS = ("computer", "lights on", "unknown")
KINDS = ("float32", "int8")
FEATURES = 10
STEP_FRAMES = 2
WINDOW_FRAMES = 9  # 2 new frames and 3 kept ones; then 2 answers kept beside the newest: 2 * 2 frames more
RATE = 16_000
SPEC = {
    "kind": "speech",
    "front_end": "log-mel",
    "rate_hz": RATE,
    "window": 480,
    "hop": 320,
    "bands": FEATURES,
    "low_hz": 60.0,
    "high_hz": 7600.0,
    "coefficients": 0,
    "pcen": None,
    "mean": 12.0,
    "std": 4.0,
}
DETECTION = {"window_frames": WINDOW_FRAMES, "smoothing_ms": 80.0, "refractory_ms": 500.0}
_OPS, _OPTIONS = schema.BuiltinOperator, schema.BuiltinOptions


class _Builder(FlatModel):
    """Layers whose int8 form is easy to state: every tensor but the scores has the scale and zero point of its kind."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.scale, self.zero = (0.05, 3) if kind == "int8" else (None, None)

    def value(self, shape: Sequence[int], name: str) -> int:
        return self.tensor(shape, self.kind, scale=self.scale, zero_point=self.zero, name=name)

    def join(self, old: int, new: int, shape: Sequence[int]) -> int:
        options = schema.ConcatenationOptionsT()
        options.axis = 1
        joined = self.value(shape, "joined")
        self.operator(_OPS.CONCATENATION, [old, new], [joined], options, _OPTIONS.ConcatenationOptions)
        return joined

    def last(self, source: int, begin: int, shape: Sequence[int], name: str) -> int:
        """The frames of `source` from number `begin` on."""
        starts = self.tensor((len(shape),), "int32", data=np.array([0, begin, *([0] * (len(shape) - 2))], np.int32))
        sizes = self.tensor((len(shape),), "int32", data=np.array(shape, np.int32))
        target = self.value(shape, name)
        self.operator(_OPS.SLICE, [source, starts, sizes], [target], schema.SliceOptionsT(), _OPTIONS.SliceOptions)
        return target

    def dense(self, source: int, weights: np.ndarray, bias: np.ndarray, name: str) -> int:
        """(1, everything) -> (1, outputs); `weights` are (outputs, everything)."""
        target = self.value((1, len(weights)), name)
        if self.kind == "float32":
            w = self.tensor(weights.shape, "float32", data=weights.astype(np.float32))
            b = self.tensor(bias.shape, "float32", data=bias.astype(np.float32))
        else:
            step = float(np.abs(weights).max() / 127)
            w = self.tensor(
                weights.shape, "int8", scale=step, zero_point=0, data=np.rint(weights / step).astype(np.int8)
            )
            stored = np.rint(bias / (step * self.scale)).astype(np.int32)
            b = self.tensor(bias.shape, "int32", scale=step * self.scale, zero_point=0, data=stored)
        options = schema.FullyConnectedOptionsT()
        self.operator(_OPS.FULLY_CONNECTED, [source, w, b], [target], options, _OPTIONS.FullyConnectedOptions)
        return target

    def reshape(self, source: int, shape: Sequence[int]) -> int:
        target = self.value(shape, "shaped")
        sizes = self.tensor((len(shape),), "int32", data=np.array(shape, np.int32))
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        self.operator(_OPS.RESHAPE, [source, sizes], [target], options, _OPTIONS.ReshapeOptions)
        return target

    def softmax(self, source: int, labels: int) -> int:
        scale, zero = (1 / 256, -128) if self.kind == "int8" else (None, None)
        target = self.tensor((1, labels), self.kind, scale=scale, zero_point=zero, name="scores")
        options = schema.SoftmaxOptionsT()
        options.beta = 1.0
        self.operator(_OPS.SOFTMAX, [source], [target], options, _OPTIONS.SoftmaxOptions)
        return target


def random_stream(kind: str = "int8", *, seed: int = 0, step_frames: int = STEP_FRAMES) -> bytes:
    """Two states: frames behind the new ones, then answers of a hidden layer behind the newest."""
    rng = np.random.default_rng(seed)
    kept, hidden, later = 3, 6, 2
    net = _Builder(kind)
    given = net.value((1, step_frames, FEATURES, 1), "features")
    frames = net.value((1, kept, FEATURES, 1), "frames")
    answers = net.value((1, later, hidden, 1), "answers")
    joined = net.join(frames, given, (1, kept + step_frames, FEATURES, 1))
    frames_out = net.last(joined, step_frames, (1, kept, FEATURES, 1), "frames_out")
    size = (kept + step_frames) * FEATURES
    weights = rng.normal(0, 0.4, (hidden, size))
    weights -= weights.mean(axis=1, keepdims=True)  # so that it counts what sounds, not how loudly
    inner = net.dense(joined, weights, rng.normal(0, 0.3, hidden), "inner")
    both = net.join(answers, net.reshape(inner, (1, 1, hidden, 1)), (1, later + 1, hidden, 1))
    answers_out = net.last(both, 1, (1, later, hidden, 1), "answers_out")
    size = (later + 1) * hidden
    logits = net.dense(both, rng.normal(0, 0.4, (len(LABELS), size)), np.zeros(len(LABELS)), "logits")
    scores = net.softmax(logits, len(LABELS))
    net.graph.inputs, net.graph.outputs = [given, frames, answers], [scores, frames_out, answers_out]
    return net.finish()


def beep_stream(kind: str = "float32", *, low_band: int = 3, high_band: int = 8) -> bytes:
    """One state; `computer` is a low tone and `lights on` a high one, over all of a window of WINDOW_FRAMES.

    A logit is the tone's band above the mean of all, averaged over the window, less 1; that of `unknown` is 0.
    """
    kept = WINDOW_FRAMES - STEP_FRAMES
    net = _Builder(kind)
    given = net.value((1, STEP_FRAMES, FEATURES, 1), "features")
    frames = net.value((1, kept, FEATURES, 1), "frames")
    joined = net.join(frames, given, (1, WINDOW_FRAMES, FEATURES, 1))
    frames_out = net.last(joined, STEP_FRAMES, (1, kept, FEATURES, 1), "frames_out")
    weights = np.zeros((len(LABELS), WINDOW_FRAMES, FEATURES))
    for row, band in enumerate((low_band, high_band)):
        weights[row] = -1 / FEATURES
        weights[row, :, band] += 1
    weights = weights.reshape(len(LABELS), -1) / WINDOW_FRAMES * 8
    scores = net.softmax(net.dense(joined, weights, np.array([-8.0, -8.0, 0.0]), "logits"), len(LABELS))
    net.graph.inputs, net.graph.outputs = [given, frames], [scores, frames_out]
    return net.finish()


def whole_window(kind: str = "float32", *, seed: int = 0) -> bytes:
    """No state: (1, WINDOW_FRAMES, FEATURES, 1) -> (1, labels)."""
    rng = np.random.default_rng(seed)
    net = _Builder(kind)
    given = net.value((1, WINDOW_FRAMES, FEATURES, 1), "features")
    weights = rng.normal(0, 0.2, (len(LABELS), WINDOW_FRAMES * FEATURES))
    scores = net.softmax(net.dense(given, weights, np.zeros(len(LABELS)), "logits"), len(LABELS))
    net.graph.inputs, net.graph.outputs = [given], [scores]
    return net.finish()


def bare_stream(model: bytes, chunks: np.ndarray) -> np.ndarray:
    """Stored chunks (steps, c, features, 1) -> stored scores (steps, labels), by the interpreter's own set and get."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    kept = [np.full(d["shape"], d["quantization"][1], d["dtype"]) for d in inputs[1:]]
    rows = []
    for chunk in chunks:
        for details, value in zip(inputs, [chunk[np.newaxis], *kept]):
            interpreter.set_tensor(details["index"], value)
        interpreter.invoke()
        row, *kept = (interpreter.get_tensor(d["index"]) for d in outputs)
        rows.append(row[0])
    return np.stack(rows)


def stream_members(
    kind: str = "int8", *, name: str = "house", model: bytes | None = None, cases: int = 6, **changes: Any
) -> dict[str, bytes]:
    """The members of a bundle. `changes` replace keys of its manifest after its checksums were made."""
    model = random_stream(kind) if model is None else model
    inputs, outputs = described(model)
    dtype, shape = np.dtype(inputs[0]["dtype"]), inputs[0]["shape"][1:]
    rng = np.random.default_rng(1)
    given = rng.integers(-80, 80, (cases, *shape)) if dtype.kind == "i" else rng.normal(0, 1, (cases, *shape))
    given = given.astype(dtype)
    members = {
        "labels.txt": "".join(f"{label}\n" for label in LABELS).encode(),
        "golden.npz": npz(inputs=given, outputs=bare_stream(model, given)),
        "model.tflite": model,
    }
    manifest = {
        "format": 1,
        "name": name,
        "task": "keyword-spotting",
        "inputs": inputs,
        "outputs": outputs,
        "preprocessing": SPEC,
        "labels": list(LABELS),
        "members": {member: hashlib.sha256(data).hexdigest() for member, data in members.items()},
        "thresholds": {"computer": 0.6, "lights on": 0.6},
        "metrics": {},
        "recipe": {},
        "tools": {},
        "created": "2026-11-25T00:00:00Z",
        "detection": DETECTION,
        **changes,
    }
    return {"manifest.json": json.dumps(manifest).encode(), **members}


def write_stream(path: Path, kind: str = "int8", **options: Any) -> Path:
    """A bundle at `path`; the options are those of `stream_members`."""
    path.write_bytes(zipped(stream_members(kind, **options)))
    return path


def tone(hz: float, seconds: float, *, amplitude: float = 0.3, rate_hz: int = RATE) -> np.ndarray:
    """A sine, (n,) int16; `amplitude` 1 is full scale."""
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.rint(amplitude * 32767 * np.sin(2 * np.pi * hz * t)).astype(np.int16)


def hiss(seconds: float, *, amplitude: float = 0.003, seed: int = 0, rate_hz: int = RATE) -> np.ndarray:
    """White noise, (n,) int16, of `amplitude` as its standard deviation."""
    noise = np.random.default_rng(seed).normal(0, amplitude * 32767, round(seconds * rate_hz))
    return np.clip(np.rint(noise), -32768, 32767).astype(np.int16)


def write_wav(path: Path, samples: np.ndarray, *, rate_hz: int = RATE) -> Path:
    """A plain 16-bit WAV of one channel."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return path
