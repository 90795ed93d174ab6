"""Reading PyTorch checkpoints as numpy arrays, without PyTorch and without running what is in them.

A `.pth` file is a pickle, and unpickling runs whatever code the file names. This reader answers only the handful of
names that a plain dictionary of tensors needs and refuses every other. It reads the serial format that `torch.save`
wrote before version 1.6: four pickles (magic number, protocol, machine, objects), the list of storage keys, and for
each key a little-endian int64 count followed by the raw values.
"""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgepress_runtime.errors import EdgepressError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ByteStorage": np.dtype("u1"),
}


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """The named tensors of a checkpoint. Raises EdgepressError for anything else than a dictionary of tensors."""
    try:
        with path.open("rb") as file:
            return _read(file)
    except FileNotFoundError:
        raise EdgepressError(f"{path} does not exist") from None
    except (
        OSError,
        ValueError,
        EOFError,
        KeyError,
        IndexError,
        TypeError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        raise EdgepressError(
            f"{path} is not a checkpoint of plain tensors: {error}", "save it as a state_dict"
        ) from None


def _read(file: BinaryIO) -> dict[str, np.ndarray]:
    storages: dict[str, np.ndarray] = {}
    unpickler = _Unpickler(file, storages)
    if unpickler.load() != _MAGIC or _Unpickler(file, storages).load() != _PROTOCOL:
        raise ValueError("it is not in PyTorch's serial format")
    _Unpickler(file, storages).load()  # sizes of C types on the machine that wrote it
    tensors = _Unpickler(file, storages).load()
    for key in _Unpickler(file, storages).load():
        (count,) = np.frombuffer(file.read(8), "<i8")
        storage = storages[key]
        data = file.read(int(count) * storage.itemsize)
        if count != len(storage) or len(data) != storage.nbytes:
            raise ValueError(f"storage {key} is cut short")
        storage[:] = np.frombuffer(data, storage.dtype)
    if not all(isinstance(value, np.ndarray) for value in tensors.values()):
        raise ValueError("it holds more than tensors")
    # The views were made before their storages were filled; copies cut them loose from the rest of the file.
    return {str(name): np.array(value) for name, value in tensors.items()}


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: BinaryIO, storages: dict[str, np.ndarray]) -> None:
        super().__init__(file)
        self._storages = storages

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _view
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no tensor needs")

    def persistent_load(self, pid: tuple) -> np.ndarray:
        kind, dtype, key, _location, count = pid[:5]
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"it holds an unknown kind of storage: {kind!r}")
        return self._storages.setdefault(key, np.zeros(int(count), dtype))


def _view(storage: np.ndarray, offset: int, size: tuple, stride: tuple, *_rest: object) -> np.ndarray:
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True)) if all(size) else offset
    if offset < 0 or any(step < 0 for step in stride) or last >= max(1, len(storage)):
        raise pickle.UnpicklingError("a tensor reaches outside its storage")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)
