"""Tiny models and bundles, built here: no training, no TensorFlow, nothing downloaded."""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

import edgepress_runtime

LABELS = ("cat", "dog", "fish", "bird", "zebra fish")
SIZE = (6, 5, 3)
KINDS = ("float32", "uint8", "int8", "int16")
# (dtype, scale, zero point) of the input tensor; int8 stores `pixel - 128`, as most models do, the others no shift.
INPUTS = {
    "float32": ("float32", None, None),
    "uint8": ("uint8", 0.011, 131),
    "int8": ("int8", 1.0 / 255.0, -128),
    "int16": ("int16", 1.0 / 32767.0, 0),
}
TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "uint8": schema.TensorType.UINT8,
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
}
SPEC = {
    "kind": "image",
    "height": SIZE[0],
    "width": SIZE[1],
    "channels": SIZE[2],
    "mean": [0.0] * 3,
    "std": [255.0] * 3,
    "fit": "stretch",
}


class FlatModel:
    """A .tflite under construction: dense layers are enough to tell one preprocessing from another."""

    def __init__(self) -> None:
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, shape, dtype, *, scale=None, zero_point=None, data=None, name="t") -> int:
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.buffer = name.encode(), list(shape), TYPES[dtype], 0
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero_point]
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, builtin, inputs, outputs, options=None, options_type=0) -> None:
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.version = 1
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        operator.builtinOptions, operator.builtinOptionsType = options, options_type
        self.model.operatorCodes.append(code)
        self.graph.operators.append(operator)

    def finish(self) -> bytes:
        import flatbuffers

        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def dense_model(kind: str = "int8", *, seed: int = 0, nan: bool = False, source: tuple | None = None) -> bytes:
    """(1, 6, 5, 3) of `kind` -> a dense layer and a softmax -> (1, 5); float32 throughout, or int8 inside and out."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 0.3, (len(LABELS), int(np.prod(SIZE)))).astype(np.float32)
    if nan:
        weights[2, 7] = np.nan
    flat = FlatModel()
    options = schema.FullyConnectedOptionsT()
    softmax = schema.SoftmaxOptionsT()
    softmax.beta = 1.0
    dtype, scale, zero_point = source or INPUTS[kind]
    given = flat.tensor((1, *SIZE), dtype, scale=scale, zero_point=zero_point, name="pixels")
    if kind == "float32":
        w, b = flat.tensor(weights.shape, dtype, data=weights), -1
        middle = flat.tensor((1, len(LABELS)), dtype)
        answer = flat.tensor((1, len(LABELS)), dtype, name="scores")
    else:
        inside = given
        if kind != "int8":
            inside = flat.tensor((1, *SIZE), "int8", scale=2.0 / 255.0, zero_point=-1)
            quantize = schema.BuiltinOperator.QUANTIZE
            flat.operator(quantize, [given], [inside], schema.QuantizeOptionsT(), schema.BuiltinOptions.QuantizeOptions)
        step = float(np.abs(weights).max() / 127)
        stored = np.rint(weights / step).astype(np.int8)
        w = flat.tensor(weights.shape, "int8", scale=step, zero_point=0, data=stored)
        bias = np.zeros(len(LABELS), np.int32)
        inner = scale if kind == "int8" else 2.0 / 255.0
        b = flat.tensor((len(LABELS),), "int32", scale=step * inner, zero_point=0, data=bias)
        middle = flat.tensor((1, len(LABELS)), "int8", scale=0.1, zero_point=0)
        answer = flat.tensor((1, len(LABELS)), "int8", scale=1 / 256, zero_point=-128, name="scores")
        given, inside = given, inside
    first = given if kind in ("float32", "int8") else inside
    fully = schema.BuiltinOperator.FULLY_CONNECTED
    flat.operator(fully, [first, w, b], [middle], options, schema.BuiltinOptions.FullyConnectedOptions)
    soft = schema.BuiltinOperator.SOFTMAX
    flat.operator(soft, [middle], [answer], softmax, schema.BuiltinOptions.SoftmaxOptions)
    flat.graph.inputs, flat.graph.outputs = [given], [answer]
    return flat.finish()


def bare_run(model: bytes, stored: np.ndarray) -> np.ndarray:
    """What the engine's own interpreter answers: the truth that the runtime is compared with."""
    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], stored)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def described(model: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The tensors of a model as a manifest lists them."""
    interpreter = Interpreter(model_content=model)

    def facts(details):
        scale, zero_point = details["quantization"]
        return {
            "name": details["name"],
            "shape": [int(n) for n in details["shape"]],
            "dtype": np.dtype(details["dtype"]).name,
            "scale": float(scale) or None,
            "zero_point": int(zero_point) if scale else None,
        }

    return (
        [facts(d) for d in interpreter.get_input_details()],
        [facts(d) for d in interpreter.get_output_details()],
    )


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A bundle's bytes as a host writes them: stored, model.tflite at a multiple of 64."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as target:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o100644 << 16
            if name == "model.tflite":
                padding = -(buffer.tell() + 30 + len(name) + 4) % 64
                info.extra = struct.pack("<HH", 0xD935, padding) + bytes(padding)
            target.writestr(info, data)
    return buffer.getvalue()


def members_of(kind: str = "int8", *, name: str = "pets", seed: int = 0, model: bytes | None = None, **changes: Any):
    """The members of a whole bundle. `changes` replace keys of its manifest after its checksums were made."""
    model = dense_model(kind, seed=seed) if model is None else model
    inputs, outputs = described(model)
    dtype = np.dtype(inputs[0]["dtype"])
    rng = np.random.default_rng(seed + 1)
    if dtype.kind == "f":
        cases = rng.uniform(-1, 1, (4, *SIZE)).astype(dtype)
    else:
        limits = np.iinfo(dtype)
        cases = rng.integers(limits.min, limits.max, (4, *SIZE), dtype, endpoint=True)
    answers = np.stack([bare_run(model, case[np.newaxis])[0] for case in cases])
    members = {
        "labels.txt": "".join(f"{label}\n" for label in LABELS).encode(),
        "golden.npz": npz(inputs=cases, outputs=answers),
        "model.tflite": model,
    }
    manifest = {
        "format": 1,
        "name": name,
        "task": "image-classification",
        "inputs": inputs,
        "outputs": outputs,
        "preprocessing": SPEC,
        "labels": list(LABELS),
        "members": {member: hashlib.sha256(data).hexdigest() for member, data in members.items()},
        "thresholds": {},
        "metrics": {},
        "recipe": {"seed": seed},
        "tools": {},
        "created": "2026-11-25T00:00:00Z",
        "detection": None,
        "version": 1,
        **changes,
    }
    return {"manifest.json": json.dumps(manifest).encode(), **members}


@pytest.fixture
def make_bundle(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a bundle and gives its path; its arguments are those of `members_of`."""

    def make(kind: str = "int8", *, file: str = "pets.edge", **options: Any) -> Path:
        path = tmp_path / file
        path.write_bytes(zipped(members_of(kind, **options)))
        return path

    return make


@pytest.fixture
def build():
    """The builders above, for tests that take a bundle apart."""
    return sys.modules[__name__]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a command that runs as its own process, with an empty store."""
    source = str(Path(edgepress_runtime.__file__).parent.parent)
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH") if key in os.environ}
    return {**kept, "PYTHONPATH": source, "EDGEPRESS_ROOT": str(tmp_path / "store"), "COLUMNS": "200"}
