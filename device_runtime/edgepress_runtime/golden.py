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
    array = plain_array(data, name, "golden.npz")
    if array.dtype != np.dtype(tensor.dtype) or array.shape[1:] != tensor.shape[1:]:
        raise BundleError(
            f"'{name}' in golden.npz is {array.dtype.newbyteorder('<').str} {list(array.shape)}, but the model's "
            f"tensor is {tensor.dtype} {list(tensor.shape)}",
            "make the bundle again",
        )
    return array


def plain_array(data: memoryview, name: str, file: str) -> np.ndarray:
    """The numbers in a `.npy` (format 1.0, at least one axis) as a read-only view of `data`. Raises BundleError.

    `name` and `file` are what the sentence calls it.
    """
    length = int.from_bytes(data[8:10], "little")
    header = _HEADER.fullmatch(bytes(data[10 : 10 + length]))
    if bytes(data[:8]) != b"\x93NUMPY\x01\x00" or header is None or len(header[3]) > 200:
        raise BundleError(f"'{name}' in {file} is not a plain array", "make the bundle again")
    try:
        dtype = np.dtype(header[1].decode())
    except TypeError:
        raise BundleError(f"'{name}' in {file} has the unknown dtype {header[1].decode()}") from None
    shape = tuple(int(n) for n in header[3].split(b", "))
    values = data[10 + length :]
    if len(values) != math.prod(shape) * dtype.itemsize:
        raise BundleError(f"'{name}' in {file} claims the shape {list(shape)} but has {len(values)} bytes")
    array = np.frombuffer(values, dtype).reshape(shape, order="F" if header[2] == b"True" else "C")
    array.setflags(write=False)
    return array
