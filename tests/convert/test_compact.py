"""A compacted model is the same model: same tensors, same answers, fewer bytes."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgepress_convert import quantize
from edgepress_convert.compact import compact, shorten
from edgepress_train import models
from edgepress_train.keras2 import keras

SCHEMES = ("int8", "float32")


@pytest.fixture(scope="module")
def written():
    """One network under each scheme, as the converter writes it."""
    keras.utils.set_random_seed(0)
    model = models.build("mobilenet-v2:width=0.25:stages=3", (24, 24, 3), 4)
    examples = np.random.default_rng(0).normal(size=(4, 24, 24, 3)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "compact", lambda data: data)
        return quantize.convert(model, SCHEMES, representative=examples)


@pytest.fixture(params=SCHEMES)
def pair(request, written):
    """Scheme, a model as it was written, and compacted."""
    return request.param, written[request.param], compact(written[request.param])


def unpack(model):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))


def facts(model):
    """Everything a model says, as nested plain values."""

    def plain(value):
        if isinstance(value, np.ndarray):
            return value.dtype.str, value.tolist()
        if isinstance(value, list):
            return [plain(item) for item in value]
        return {k: plain(v) for k, v in vars(value).items()} if hasattr(value, "__dict__") else value

    return plain(unpack(model))


def answers(model):
    interpreter = Interpreter(model_content=model)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    rng = np.random.default_rng(1)
    found = []
    for _ in range(5):
        real = rng.normal(size=source["shape"])
        stored = real if source["dtype"] == np.float32 else real * 60
        interpreter.set_tensor(source["index"], stored.astype(source["dtype"]))
        interpreter.invoke()
        found.append(interpreter.get_tensor(target["index"]))
    return np.array(found)


def test_it_says_the_same(pair):
    _, written, small = pair
    assert facts(small) == facts(written)


def test_it_answers_the_same(pair):
    _, written, small = pair
    assert np.array_equal(answers(written), answers(small))


def test_int8_files_shrink_by_a_tenth_or_more_and_no_file_grows(pair):
    scheme, written, small = pair
    assert len(small) <= (0.9 * len(written) if scheme == "int8" else len(written))


def test_doing_it_twice_changes_nothing(pair):
    assert compact(pair[2]) == pair[2]


def test_weights_stay_aligned_for_kernels_that_load_sixteen_bytes(pair):
    model = schema.Model.GetRootAs(pair[2], 0)
    whole = np.frombuffer(pair[2], np.uint8)
    for index in range(model.BuffersLength()):
        data = model.Buffers(index).DataAsNumpy()
        if isinstance(data, np.ndarray) and data.size:
            assert (data.ctypes.data - whole.ctypes.data) % 16 == 0


def test_short_names_change_nothing_but_names(pair):
    _, before, compacted = pair
    after = shorten(compacted)
    assert len(after) < len(compacted)
    assert np.array_equal(answers(after), answers(before))
    for one, other in zip(unpack(before).subgraphs, unpack(after).subgraphs, strict=True):
        assert [str(t.shape) for t in one.tensors] == [str(t.shape) for t in other.tensors]
        for index in (*one.inputs, *one.outputs):
            assert one.tensors[index].name == other.tensors[index].name
        made = [other.tensors[op.outputs[0]].name for op in other.operators]
        assert len(set(made)) == len(made)  # a layer can still be told from another
        before_made = [one.tensors[op.outputs[0]].name for op in one.operators]
        assert all(long.startswith(short) for long, short in zip(before_made, made, strict=True))


def test_names_that_would_meet_stay_apart(pair):
    model = unpack(pair[1])
    for tensor in model.subgraphs[0].tensors:
        tensor.name = b"same;" + tensor.name
    from edgepress_convert.compact import write

    made = unpack(shorten(write(model))).subgraphs[0]
    names = [made.tensors[op.outputs[0]].name for op in made.operators]
    assert len(set(names)) == len(names)
