"""PyTorch's serial checkpoint format, written here by hand; and files that try to run code."""

from __future__ import annotations

import collections
import os
import pickle
import sys
import types

import numpy as np
import pytest

from edgepress_runtime.errors import EdgepressError
from edgepress_train.models.torch_weights import read_state_dict

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
KINDS = {"float32": "FloatStorage", "float16": "HalfStorage", "int64": "LongStorage"}


class Stored:
    """An array inside a storage, as `torch.save` would see it."""

    def __init__(self, key, storage, offset, shape, stride):
        self.key, self.storage, self.offset, self.shape, self.stride = key, storage, offset, shape, stride


@pytest.fixture
def write(monkeypatch, tmp_path):
    """A function that writes named arrays as `torch.save` did before version 1.6."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*arguments):
        raise AssertionError("the reader must never call what a file names")

    rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = rebuild
    kinds = {name: type(kind, (), {"__module__": "torch"}) for name, kind in KINDS.items()}
    for kind in kinds.values():
        setattr(torch, kind.__name__, kind)

    class Storage:
        def __init__(self, key, array):
            self.key, self.array = key, array

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            if isinstance(value, Storage):
                return ("storage", kinds[value.array.dtype.name], value.key, "cpu", len(value.array), None)
            return None

        def reducer_override(self, value):
            if isinstance(value, Stored):
                storage = Storage(value.key, value.storage)
                return rebuild, (storage, value.offset, value.shape, value.stride, False, collections.OrderedDict())
            return NotImplemented

    def writer(state, *, cut=0, name="weights.pth"):
        storages = {value.key: value.storage for value in state.values() if isinstance(value, Stored)}
        path = tmp_path / name
        with monkeypatch.context() as patch, path.open("wb") as file:
            patch.setitem(sys.modules, "torch", torch)
            patch.setitem(sys.modules, "torch._utils", utils)
            for value in (MAGIC, PROTOCOL, {"little_endian": True}, state, list(storages)):
                Pickler(file, protocol=2).dump(value)
            for storage in storages.values():
                file.write(len(storage).to_bytes(8, "little") + storage.tobytes())
        if cut:
            path.write_bytes(path.read_bytes()[:-cut])
        return path

    return writer


def test_every_tensor_comes_back_with_its_shape_strides_and_dtype(write):
    rng = np.random.default_rng(0)
    whole = rng.normal(size=24).astype(np.float32)
    half, counts = rng.normal(size=6).astype(np.float16), np.arange(3, dtype=np.int64)
    state = collections.OrderedDict(
        conv=Stored("1", whole, 0, (2, 3, 4), (12, 4, 1)),
        turned=Stored("1", whole, 0, (4, 6), (1, 4)),
        part=Stored("1", whole, 5, (3,), (2,)),
        half=Stored("2", half, 0, (6,), (1,)),
        steps=Stored("3", counts, 2, (), ()),
    )
    found = read_state_dict(write(state))
    assert list(found) == list(state)
    assert np.array_equal(found["conv"], whole.reshape(2, 3, 4)) and found["conv"].dtype == np.float32
    assert np.array_equal(found["turned"], whole.reshape(6, 4).T)
    assert np.array_equal(found["part"], whole[[5, 7, 9]])
    assert np.array_equal(found["half"], half) and found["half"].dtype == np.float16
    assert found["steps"] == 2 and found["steps"].shape == ()


class Attack:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_code_in_a_checkpoint_is_not_run(write, tmp_path):
    marker = tmp_path / "run"
    with pytest.raises(EdgepressError, match="which no tensor needs"):
        read_state_dict(write({"weight": Attack(marker)}))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("offset", "shape", "stride"),
    [(0, (5,), (1,)), (2, (3,), (1,)), (0, (2, 2), (3, 1)), (-1, (2,), (1,)), (3, (2,), (-1,))],
)
def test_a_tensor_that_reaches_outside_its_storage_is_refused(write, offset, shape, stride):
    state = {"weight": Stored("1", np.zeros(4, np.float32), offset, shape, stride)}
    with pytest.raises(EdgepressError, match="reaches outside its storage"):
        read_state_dict(write(state))


def test_damaged_and_foreign_files_are_named(write, tmp_path):
    cut = write({"weight": Stored("1", np.zeros(4, np.float32), 0, (4,), (1,))}, cut=3)
    (tmp_path / "junk.pth").write_bytes(b"junk")
    for path in (cut, tmp_path / "junk.pth", write({"epoch": 3}, name="other.pth")):
        with pytest.raises(EdgepressError, match="is not a checkpoint of plain tensors"):
            read_state_dict(path)
    with pytest.raises(EdgepressError, match="does not exist"):
        read_state_dict(tmp_path / "missing.pth")
