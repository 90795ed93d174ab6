"""Golden cases: a few model inputs and the exact outputs that the model must give, on every machine.

Those of a streaming model are the new frames and the scores of the first steps of one stream, in order.

`golden.npz` is what `numpy.savez(file, inputs=..., outputs=...)` writes. It is read without numpy's own reader, which
evaluates headers and allocates what they ask for.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from edgepress_runtime import archive
from edgepress_runtime.errors import BundleError
from edgepress_runtime.manifest import Manifest, TensorSpec

_HEADER = re.compile(
    rb"\{'descr': '([<|][fiu][0-9])', 'fortran_order': (True|False), 'shape': \(([0-9]+(?:, [0-9]+)*),?\), \} *\n"
)


@dataclass(frozen=True)
class Golden:
    """`inputs` (cases, ...) and `outputs` (cases, ...) as the model's tensors store them, without their batch axis."""

    inputs: np.ndarray
    outputs: np.ndarray

    def __len__(self) -> int:
        return len(self.inputs)


def read(data: memoryview, manifest: Manifest) -> Golden:
    """The cases in the bytes of a `golden.npz`. Raises BundleError unless they fit the manifest's tensors."""
    members = archive.read_members(data, "golden.npz")
    if members.keys() != {"inputs.npy", "outputs.npy"}:
        raise BundleError("golden.npz should hold the two arrays 'inputs' and 'outputs'", "make the bundle again")
    inputs = _array(members["inputs.npy"], "inputs", manifest.inputs[0])
    outputs = _array(members["outputs.npy"], "outputs", manifest.outputs[0])
    if len(inputs) != len(outputs) or len(inputs) == 0:
        raise BundleError(f"golden.npz holds {len(inputs)} inputs and {len(outputs)} outputs", "make the bundle again")
    return Golden(inputs, outputs)


def _array(data: memoryview, name: str, tensor: TensorSpec) -> np.ndarray:
    """One `.npy` (format 1.0) as a view of `data`: (cases, *tensor.shape[1:])."""
    length = int.from_bytes(data[8:10], "little")
    header = _HEADER.fullmatch(bytes(data[10 : 10 + length]))
    if bytes(data[:8]) != b"\x93NUMPY\x01\x00" or header is None or len(header[3]) > 200:
        raise BundleError(f"'{name}' in golden.npz is not a plain array", "make the bundle again")
    dtype = np.dtype(tensor.dtype)
    shape = tuple(int(n) for n in header[3].split(b", "))
    if header[1].decode() != dtype.newbyteorder("<").str or shape[1:] != tensor.shape[1:]:
        raise BundleError(
            f"'{name}' in golden.npz is {header[1].decode()} {list(shape)}, but the model's tensor is "
            f"{tensor.dtype} {list(tensor.shape)}",
            "make the bundle again",
        )
    values = data[10 + length :]
    if len(values) != math.prod(shape) * dtype.itemsize:
        raise BundleError(f"'{name}' in golden.npz claims the shape {list(shape)} but has {len(values)} bytes")
    array = np.frombuffer(values, dtype).reshape(shape, order="F" if header[2] == b"True" else "C")
    array.setflags(write=False)
    return array
