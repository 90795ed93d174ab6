"""The self-test: exact models pass, and a mismatch says by how much."""

from __future__ import annotations

import io

import numpy as np
import pytest
from tests.runtime import streams

from edgepress_runtime import selftest
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.selftest import SelfTest, self_test


def result_of(path) -> SelfTest:
    bundle = open_bundle(path)
    with open_engine(bundle.model_source) as engine:
        return self_test(bundle, engine)


def with_outputs(build, tmp_path, kind, change, **options):
    """A bundle whose golden outputs were changed by `change`."""
    import hashlib
    import io
    import json

    members = build.members_of(kind, **options)
    golden = np.load(io.BytesIO(members["golden.npz"]))
    outputs = golden["outputs"].copy()
    change(outputs)
    members["golden.npz"] = build.npz(inputs=golden["inputs"], outputs=outputs)
    manifest = json.loads(members["manifest.json"])
    manifest["members"]["golden.npz"] = hashlib.sha256(members["golden.npz"]).hexdigest()
    path = tmp_path / "x.edge"
    path.write_bytes(build.zipped({**members, "manifest.json": json.dumps(manifest).encode()}))
    return path


@pytest.mark.parametrize("kind", ["float32", "uint8", "int8", "int16"])
def test_exact(make_bundle, kind):
    result = result_of(make_bundle(kind))
    assert (result.cases, result.exact, result.ok) == (4, 4, True)
    assert result.worst <= (1e-5 if kind == "float32" else 0)
    assert result.verdict == "4 of 4 golden cases exact"


def test_one_step_of_one_integer_is_a_mismatch(build, tmp_path):
    def change(outputs):
        outputs[2, 1] += 1

    result = result_of(with_outputs(build, tmp_path, "int8", change))
    assert result == SelfTest(4, 3, 1.0)
    assert result.verdict == "1 of 4 golden cases differ, the worst by 1"


@pytest.mark.parametrize(("steps", "ok"), [(16, True), (17, False)])
def test_an_engine_that_rounds_differently_may_be_some_steps_off(build, tmp_path, monkeypatch, steps, ok):
    def change(outputs):
        worst = outputs[2].argmin()  # which leaves the best answer the best
        assert outputs[2, worst] + steps < outputs[2].max()
        outputs[2, worst] += steps

    monkeypatch.setattr(selftest, "rounds_alike", lambda engine: False)
    result = result_of(with_outputs(build, tmp_path, "int8", change))
    assert (result.exact, result.close, result.ok) == (3, int(ok), ok)
    told = "3 of 4 golden cases exact, 1 within 16 steps" if ok else "1 of 4 golden cases differ, the worst by 17"
    assert told in result.verdict


def test_another_best_answer_is_never_close(build, tmp_path, monkeypatch):
    def change(outputs):
        order = outputs[2].argsort()
        outputs[2, order[-2]] = min(127, int(outputs[2, order[-1]]) + 1)

    monkeypatch.setattr(selftest, "rounds_alike", lambda engine: False)
    assert not result_of(with_outputs(build, tmp_path, "int8", change)).ok


@pytest.mark.parametrize(("delta", "exact"), [(5e-6, 4), (3e-5, 3)])
def test_floats_have_a_tolerance(build, tmp_path, delta, exact):
    def change(outputs):
        outputs[0, 0] += np.float32(delta)

    result = result_of(with_outputs(build, tmp_path, "float32", change))
    assert result.exact == exact
    assert result.worst == pytest.approx(delta, rel=0.1)


def test_the_largest_difference_of_int8_is_not_wrapped(build, tmp_path):
    def change(outputs):
        outputs[...] = np.where(outputs > 0, -128, 127)

    assert result_of(with_outputs(build, tmp_path, "int8", change)).worst >= 127


def test_nan_never_passes(build, tmp_path):
    def change(outputs):
        outputs[...] = np.nan

    model = build.dense_model("float32", nan=True)
    result = result_of(with_outputs(build, tmp_path, "float32", change, model=model))
    assert (result.exact, result.worst, result.ok) == (0, float("inf"), False)


def test_a_manifest_that_describes_another_model(build, tmp_path):
    inputs, outputs = build.described(build.dense_model("int8"))
    inputs[0]["scale"] = 0.25
    path = tmp_path / "x.edge"
    path.write_bytes(build.zipped(build.members_of("int8", inputs=inputs, outputs=outputs)))
    with pytest.raises(EdgepressError, match="the manifest says int8"):
        result_of(path)


# ---- streaming models: the cases are steps of one stream


@pytest.mark.parametrize("kind", streams.KINDS)
def test_the_cases_of_a_stream_follow_each_other(tmp_path, kind):
    result = result_of(streams.write_stream(tmp_path / "x.edge", kind))
    assert (result.cases, result.exact) == (6, 6)


def test_a_state_that_is_lost_between_the_cases_is_seen(tmp_path, monkeypatch):
    """Golden outputs made with states that never leave zero are those of another stream."""
    path = streams.write_stream(tmp_path / "x.edge")
    model = streams.random_stream()
    given = np.load(io.BytesIO(open_bundle(path).members["golden.npz"]))["inputs"]
    forgetful = np.concatenate([streams.bare_stream(model, one[np.newaxis]) for one in given])
    assert not np.array_equal(forgetful, streams.bare_stream(model, given))
    monkeypatch.setattr(streams, "bare_stream", lambda model, chunks: forgetful)
    result = result_of(streams.write_stream(tmp_path / "y.edge"))
    assert result.exact < result.cases
    assert forgetful[0].tobytes() == open_bundle(path).golden().outputs[0].tobytes()


def test_states_that_do_not_come_back_are_refused(tmp_path, monkeypatch):
    """A model with two inputs of which the second is no state."""
    net = streams._Builder("float32")
    given = net.value((1, streams.STEP_FRAMES, streams.FEATURES, 1), "features")
    other = net.value((1, 3, streams.FEATURES, 1), "other")
    joined = net.join(other, given, (1, 3 + streams.STEP_FRAMES, streams.FEATURES, 1))
    weights = np.zeros((3, 5 * streams.FEATURES))
    scores = net.softmax(net.dense(joined, weights, np.zeros(3), "logits"), 3)
    net.graph.inputs, net.graph.outputs = [given, other], [scores, joined]
    monkeypatch.setattr(streams, "bare_stream", lambda model, chunks: np.zeros((len(chunks), 3), np.float32))
    path = streams.write_stream(tmp_path / "x.edge", "float32", model=net.finish())
    with pytest.raises(EdgepressError, match=r"state 1 goes in as float32 .* and comes out as"):
        result_of(path)
