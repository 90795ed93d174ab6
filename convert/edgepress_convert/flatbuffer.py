"""Reading a .tflite: its tensors and operators as plain data, straight from the flatbuffer, without TensorFlow.

The file is walked lazily and with a budget, so that a damaged or hostile file ends in one sentence instead of a
crash, an endless loop or gigabytes of memory.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import DTYPES, TensorSpec

MAX_BYTES = 1 << 31  # flatbuffer offsets are signed 32-bit


class TfliteError(EdgepressError):
    """A .tflite that is damaged, or holds something that no board of ours can run."""


class _Damage(ValueError):
    """What is wrong inside the file, in words."""


def _names(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if not name.startswith("_")}


OPS = _names(schema.BuiltinOperator)
TYPES = {value: name.lower() for value, name in _names(schema.TensorType).items()}
BITS = {
    "float64": 64, "int64": 64, "uint64": 64, "complex64": 64, "complex128": 128, "float32": 32, "int32": 32,
    "uint32": 32, "float16": 16, "bfloat16": 16, "int16": 16, "uint16": 16, "int8": 8, "uint8": 8, "bool": 8,
    "int4": 4, "uint4": 4, "int2": 2,
}  # fmt: skip
_WEIGHTS = ("float64", "float32", "float16", "bfloat16", "int16", "int8", "uint8", "int4", "int2")
DAMAGE = (
    struct.error, IndexError, KeyError, ValueError, TypeError, OverflowError, AssertionError, AttributeError,
    MemoryError, RecursionError,
)  # fmt: skip


@dataclass(frozen=True)
class Tensor:
    """One tensor of a subgraph. `data` holds the constant's raw bytes, None for a tensor computed at run time."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    data: bytes | None
    variable: bool = False
    sparse: bool = False

    @property
    def size(self) -> int:
        """Number of elements; an unknown (negative) dimension counts as 1."""
        return math.prod(max(n, 1) if n < 0 else n for n in self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes at run time; 0 for strings and resources, whose size the file does not tell."""
        return (self.size * BITS.get(self.dtype, 0) + 7) // 8

    @property
    def is_weight(self) -> bool:
        """A trained constant: any constant of a weight dtype, and int32/int64 biases (they carry a scale).

        Integers without a scale are shapes, axes and paddings.
        """
        return self.data is not None and (
            self.dtype in _WEIGHTS or (self.dtype in ("int32", "int64") and bool(self.scales))
        )

    def values(self) -> np.ndarray:
        """The stored numbers of a constant, flat, in their own dtype (int4 unpacked to int8)."""
        assert self.data is not None
        if self.dtype in ("int4", "int2"):
            bits = BITS[self.dtype]
            raw = np.frombuffer(self.data, np.uint8)
            parts = np.stack([(raw >> shift) & (2**bits - 1) for shift in range(0, 8, bits)], axis=1).reshape(-1)
            return np.where(parts >= 2 ** (bits - 1), parts.astype(np.int8) - 2**bits, parts).astype(np.int8)[
                : self.size
            ]
        if self.dtype == "bfloat16":
            return (np.frombuffer(self.data, np.uint16).astype(np.uint32) << 16).view(np.float32)
        return np.frombuffer(self.data, np.dtype(self.dtype))


@dataclass(frozen=True)
class Op:
    """One operator: `kind` is TFLite's name (`CONV_2D`), or `custom:NAME`; -1 among `inputs` is an absent one."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    adj_x: bool = False


@dataclass(frozen=True)
class Graph:
    """One subgraph, in execution order."""

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[Op, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class _Budget:
    """Bounds the work that a file can ask for: no honest file names many more things than it has bytes.

    A few times more, since equal vectors may be stored once and named by many tensors.
    """

    def __init__(self, size: int) -> None:
        self.left = 4 * size + 1024

    def range(self, n: int) -> range:
        self.left -= n
        if n < 0 or self.left < 0:
            raise _Damage("it names more things than it has bytes")
        return range(n)


def read(path: str | Path) -> bytes:
    """The bytes of a .tflite file. Raises TfliteError with the path."""
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise TfliteError(f"{path} is not a plain file", "give a .tflite file")
        if path.stat().st_size > MAX_BYTES:
            raise TfliteError(f"{path} is larger than a .tflite can be (2 GiB)")
        return path.read_bytes()
    except FileNotFoundError:
        raise TfliteError(f"{path} does not exist", "check the path") from None
    except OSError as error:
        raise TfliteError(f"{path} cannot be read: {error.strerror or error}") from None


def graphs(model: bytes, *, name: str = "the model") -> tuple[Graph, ...]:
    """The subgraphs of a .tflite, the main one first. Raises TfliteError; `name` is how the sentence calls the file."""
    remedy = "copy it again, or export it again"
    if len(model) < 16 or model[4:8] != b"TFL3":
        raise TfliteError(f"{name} is not a TensorFlow Lite model", "give a .tflite file")
    budget = _Budget(len(model))
    try:
        root = schema.Model.GetRootAs(model, 0)
        if root.Version() != 3:
            raise TfliteError(f"{name} has the TensorFlow Lite schema {root.Version()}, not 3", remedy)
        codes = [_code(root.OperatorCodes(i)) for i in budget.range(root.OperatorCodesLength())]
        buffers = [_buffer(root.Buffers(i), model) for i in budget.range(root.BuffersLength())]
        found = tuple(_graph(root.Subgraphs(i), codes, buffers, budget) for i in budget.range(root.SubgraphsLength()))
    except _Damage as error:
        raise TfliteError(f"{name} is damaged: {error}", remedy) from None
    except DAMAGE:
        raise TfliteError(f"{name} is damaged or cut short", remedy) from None
    if not found:
        raise TfliteError(f"{name} holds no graph", remedy)
    return found


def short(name: str) -> str:
    """A tensor's name for people: of the parts that the converter joins with `;` when it fuses, the first."""
    return name.split(";")[0] or "unnamed"


def _code(code: Any) -> str:
    # Operators above 127 sit in the newer field only; older files fill the older field only.
    number = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())
    if number == schema.BuiltinOperator.CUSTOM:
        return f"custom:{(code.CustomCode() or b'?').decode('utf-8', 'replace')}"
    return OPS[number]


def _buffer(buffer: Any, model: bytes) -> bytes | None:
    if buffer.Offset() > 1:  # stored behind the flatbuffer, as files near 2 GiB do
        end = buffer.Offset() + buffer.Size()
        if end > len(model):
            raise _Damage("a weight lies behind the end of the file")
        return model[buffer.Offset() : end]
    if buffer.DataLength() == 0:
        return None
    data = buffer.DataAsNumpy()
    return data.tobytes()


def _ints(values: Any) -> tuple[int, ...]:
    return () if isinstance(values, int) else tuple(int(v) for v in values)  # an absent vector reads as 0


def _graph(graph: Any, codes: list[str], buffers: list[bytes | None], budget: _Budget) -> Graph:
    tensors = tuple(_tensor(graph.Tensors(i), i, buffers, budget) for i in budget.range(graph.TensorsLength()))
    ops = tuple(_op(graph.Operators(i), codes, budget) for i in budget.range(graph.OperatorsLength()))
    ends = []
    for length, read_all in ((graph.InputsLength, graph.InputsAsNumpy), (graph.OutputsLength, graph.OutputsAsNumpy)):
        budget.range(length())
        ends.append(_ints(read_all()))
    inputs, outputs = ends
    used = [i for op in ops for i in (*op.inputs, *op.outputs)] + [*inputs, *outputs]
    if any(i >= len(tensors) or i < -1 for i in used):
        raise _Damage("an operator uses a tensor that does not exist")
    return Graph((graph.Name() or b"").decode("utf-8", "replace"), tensors, ops, inputs, outputs)


def _tensor(tensor: Any, index: int, buffers: list[bytes | None], budget: _Budget) -> Tensor:
    budget.range(tensor.ShapeLength())
    shape = _ints(tensor.ShapeAsNumpy())
    if math.prod(max(n, 1) for n in shape) > 1 << 40:
        raise _Damage(f"a tensor of shape {list(shape)} is beyond any memory")
    quantization = tensor.Quantization()
    scales: tuple[float, ...] = ()
    zeros: tuple[int, ...] = ()
    if quantization is not None:
        budget.range(quantization.ScaleLength() + quantization.ZeroPointLength())
        if quantization.ScaleLength():
            scales = tuple(float(v) for v in quantization.ScaleAsNumpy())
            zeros = _ints(quantization.ZeroPointAsNumpy())
    dtype = TYPES[tensor.Type()]
    data = buffers[tensor.Buffer()]
    sparse = tensor.Sparsity() is not None
    found = Tensor(
        index, (tensor.Name() or b"").decode("utf-8", "replace"), shape, dtype, scales, zeros, data,
        bool(tensor.IsVariable()), sparse,
    )  # fmt: skip
    if data is not None and not sparse and dtype in BITS and len(data) != found.nbytes:
        raise _Damage(f"the constant {found.name!r} has {len(data)} bytes, its shape needs {found.nbytes}")
    return found


def _op(op: Any, codes: list[str], budget: _Budget) -> Op:
    budget.range(op.InputsLength() + op.OutputsLength())
    kind = codes[op.OpcodeIndex()]
    adj_x = False
    if kind == "BATCH_MATMUL" and op.BuiltinOptionsType() == schema.BuiltinOptions.BatchMatMulOptions:
        options = schema.BatchMatMulOptions()
        table = op.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        adj_x = bool(options.AdjX())
    return Op(kind, _ints(op.InputsAsNumpy()), _ints(op.OutputsAsNumpy()), adj_x)


def specs(graph: Graph, which: tuple[int, ...]) -> tuple[TensorSpec, ...]:
    """Inputs or outputs of `graph` as the manifest states them. Raises TfliteError for a dtype no bundle can hold."""
    found = []
    for index in which:
        tensor = graph.tensors[index]
        if tensor.dtype not in DTYPES:
            raise TfliteError(
                f"the tensor {tensor.name!r} has the dtype {tensor.dtype}, which a bundle cannot hold",
                f"export the model with one of {', '.join(DTYPES)}",
            )
        scale = tensor.scales[0] if tensor.scales and tensor.dtype != "float32" else None
        zero = None if scale is None else (tensor.zero_points[0] if tensor.zero_points else 0)
        shape = tuple(1 if n < 0 else n for n in tensor.shape)
        found.append(TensorSpec(tensor.name, shape, tensor.dtype, scale, zero))
    return tuple(found)


def foreign_ops(found: tuple[Graph, ...]) -> tuple[str, ...]:
    """Operators that plain LiteRT does not have: `Flex...` (TensorFlow's own) and custom ones, without repeats."""
    kinds = {op.kind.removeprefix("custom:") for graph in found for op in graph.ops if op.kind.startswith("custom:")}
    return tuple(sorted(kinds))
