"""Chains of passes: what they leave, what they say before they begin, and that nothing is lost when cut off."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.convert.conftest import SPEC, convert_here, edgepress

from edgepress_convert import quantize
from edgepress_convert.compress import PASSES, Candidate, chain
from edgepress_convert.compress.chain import CompressConfig, compress
from edgepress_convert.convert import ConvertConfig, convert
from edgepress_convert.importers import Hints
from edgepress_convert.plan import Plan
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_train import run
from edgepress_train.config import TrainConfig, as_json
from edgepress_train.data.sources import open_dataset
from edgepress_train.keras2 import keras


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantize, "convert", convert_here)


@pytest.fixture(scope="module")
def colour_run(network, colours, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN folder whose training can be gone on with."""
    path = tmp_path_factory.mktemp("runs") / "colours"
    path.mkdir()
    dataset = open_dataset(str(colours))
    config = TrainConfig(
        data=str(colours), out=path, size=(12, 12), batch=16, augment="none", lr=1e-3, weight_decay=0.0
    )
    made = run.Run(
        path=path, task="image-classification", command="edgepress train image", config=as_json(config),
        labels=dataset.labels, preprocessing=SPEC, data=dataset.describe(), metrics={},
    )  # fmt: skip
    run.save(made, network)
    return path


def halve(model: keras.Model, job, *, share: float = 0.5) -> keras.Model:
    """A stand-in for a pass: sets a share of each kernel to zero."""
    copy = keras.models.clone_model(model)
    weights = []
    for w in model.get_weights():
        w = w.copy()
        if w.ndim > 1:
            w.reshape(-1)[: int(share * w.size)] = 0
        weights.append(w)
    copy.set_weights(weights)
    job.note("every kernel lost its first half")
    return copy


def coarse(model: keras.Model, job) -> Plan:
    """A stand-in for a pass that only changes how to quantize."""
    return dataclasses.replace(job.plan, scheme="float16")


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    here = __name__
    for name, function in (("halve", halve), ("coarse", coarse)):
        monkeypatch.setitem(PASSES, name, (here, function.__name__, ""))
    import sys

    monkeypatch.setitem(sys.modules, here, sys.modules[halve.__module__])


def test_a_chain_leaves_a_run_that_converts_as_it_was_measured(colour_run, tmp_path, stand_ins):
    out = tmp_path / "small"
    result = compress(CompressConfig(colour_run, out, "halve:0.25,finetune:epochs=1,coarse"), command=["edgepress"])
    assert [report.step for report in result.steps] == ["halve:0.25", "finetune:epochs=1", "coarse"]
    first, second, third = result.steps
    assert first.before == result.start
    assert second.before == first.after
    assert first.notes == ("every kernel lost its first half",)
    assert first.after.sparsity > 0.2
    assert first.verdict.flash is False
    assert third.after.bytes > second.after.bytes  # float16 is twice int8
    assert "bigger" in third.verdict.sentence
    assert result.plan["scheme"] == "float16"
    assert result.total.before == first.before
    assert result.total.after == third.after
    again = run.load(out)
    assert again.compress["recipe"] == "halve:0.25,finetune:epochs=1,coarse"
    assert json.loads(json.dumps(again.compress))["steps"][0]["verdict"]["flash"] is False
    made = convert(ConvertConfig(out, tmp_path / "small.edge"))
    assert made.quantize == "float16"
    assert made.bytes == third.after.bytes
    assert open_bundle(tmp_path / "small.edge").manifest.recipe["compress"]["source"] == "colours"


def test_the_start_is_measured_as_independent_code_measures_it(colour_run, tmp_path, network, stand_ins):
    import zlib

    from edgepress_runtime.image import normalize
    from edgepress_train.data.pixels import load_split

    result = compress(CompressConfig(colour_run, tmp_path / "out", "halve"))
    dataset = open_dataset(run.load(colour_run).data["source"])
    pixels, kept, _ = load_split(dataset.splits["val"], SPEC)
    expected = (network.predict(normalize(pixels, SPEC), verbose=0).argmax(axis=1) == kept.labels).mean()
    assert result.start.n == len(kept.labels)
    assert result.start.float_top1 == pytest.approx(expected)
    convert(ConvertConfig(colour_run, tmp_path / "whole.edge"))
    with zipfile.ZipFile(tmp_path / "whole.edge") as bundle:
        model = bundle.read("model.tflite")
    assert (result.start.bytes, result.start.deflated_bytes) == (len(model), len(zlib.compress(model, 9)))


def test_the_last_step_tells_which_layers_int8_still_hurts(colour_run, tmp_path, network, stand_ins):
    out = tmp_path / "out"
    compress(CompressConfig(colour_run, out, "halve,finetune:0"))
    assert not (out / "steps" / "01-halve" / "sensitivity.json").exists()
    rows = json.loads((out / "steps" / "02-finetune" / "sensitivity.json").read_text())
    assert {row["name"] for row in rows} <= {layer.name for layer in network.layers}
    assert [row["damage"] for row in rows] == sorted((row["damage"] for row in rows), reverse=True)
    kept = np.load(out / "steps" / "representative.npy")
    assert kept.dtype == np.float32 and kept.shape[1:] == network.input_shape[1:]


def test_a_model_whose_layers_cannot_be_watched_is_compressed_all_the_same(
    colour_run, tmp_path, stand_ins, monkeypatch
):
    def refuse(*_, **__):
        raise EdgepressError("the model has loops, whose ranges cannot be watched")

    monkeypatch.setattr(chain.planned, "prepare", refuse)
    out = tmp_path / "out"
    result = compress(CompressConfig(colour_run, out, "halve"))
    assert run.load(out).compress["total"]["after"]["bytes"] == result.total.after.bytes
    assert not (out / "steps" / "01-halve" / "sensitivity.json").exists()


def test_the_input_of_a_chain_stays_as_it_was(colour_run, tmp_path, stand_ins):
    before = {path: path.read_bytes() for path in sorted(colour_run.rglob("*")) if path.is_file()}
    compress(CompressConfig(colour_run, tmp_path / "out", "halve,finetune:1"))
    assert {path: path.read_bytes() for path in sorted(colour_run.rglob("*")) if path.is_file()} == before


def test_a_chain_that_was_cut_off_goes_on_after_its_last_finished_step(colour_run, tmp_path, stand_ins, monkeypatch):
    config = CompressConfig(colour_run, tmp_path / "out", "halve:0.3,finetune:epochs=1")
    whole = compress(dataclasses.replace(config, out=tmp_path / "whole"))
    real, calls = chain.apply, []

    def dies_at_two(step, *rest):
        calls.append(step.step.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(step, *rest)

    monkeypatch.setattr(chain, "apply", dies_at_two)
    with pytest.raises(KeyboardInterrupt):
        compress(config)
    with pytest.raises(run.RunError, match="holds a training already"):
        compress(config)
    result = compress(config, resume=True)
    assert calls == ["halve", "finetune", "finetune"]
    for one, other in zip(whole.steps, result.steps, strict=True):
        assert one.after == other.after
    ours, theirs = (keras.models.load_model(tmp_path / n / "model.keras", compile=False) for n in ("whole", "out"))
    assert all(np.array_equal(a, b) for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True))
    with pytest.raises(run.RunError, match="was begun with another recipe"):
        compress(dataclasses.replace(config, recipe="halve"), resume=True)


def test_every_step_is_checked_before_the_first_begins(colour_run, tmp_path, stand_ins, monkeypatch):
    import sys

    def check(model, job, **options):
        raise EdgepressError("the layer odd cannot be halved", "leave it out")

    monkeypatch.setattr(sys.modules[halve.__module__], "check", check, raising=False)
    with pytest.raises(EdgepressError) as caught:
        compress(CompressConfig(colour_run, tmp_path / "out", "finetune:1,halve"))
    assert caught.value.what == "step 2 (halve): the layer odd cannot be halved"
    assert not (tmp_path / "out").exists()


def test_a_keras_file_with_data_can_be_compressed(network, colours, tmp_path):
    file = tmp_path / "mine.keras"
    network.save(file)
    hints = Hints(data=str(colours), mean=SPEC.mean, std=SPEC.std)
    result = compress(CompressConfig(file, tmp_path / "out", "finetune:1", hints=hints))
    assert result.start.float_top1 > 0.9
    assert convert(ConvertConfig(tmp_path / "out", tmp_path / "mine.edge")).quantize == "int8"
    again = compress(CompressConfig(tmp_path / "out", tmp_path / "more", "finetune:1"))
    assert again.start.float_top1 == result.total.after.float_top1


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3 under NumPy 2
def test_a_keras_3_file_can_be_compressed(network, colours, tmp_path):
    keras3 = pytest.importorskip("keras")
    inputs = keras3.Input((12, 12, 3))
    x = keras3.layers.Conv2D(8, 1, activation="relu", name="mix")(inputs)
    x = keras3.layers.DepthwiseConv2D(3, padding="same", activation="relu", name="blur")(x)
    x = keras3.layers.GlobalAveragePooling2D()(x)
    model = keras3.Model(inputs, keras3.layers.Dense(3, activation="softmax", name="head")(x))
    for name in ("mix", "blur", "head"):
        model.get_layer(name).set_weights(network.get_layer(name).get_weights())
    model.save(tmp_path / "third.keras")
    hints = Hints(data=str(colours), mean=SPEC.mean, std=SPEC.std)
    result = compress(CompressConfig(tmp_path / "third.keras", tmp_path / "out", "finetune:1", hints=hints))
    assert result.start.float_top1 > 0.9


@pytest.mark.parametrize(
    ("words", "sentence", "code"),
    [
        (["gone", "--recipe", "qat", "--out", "o"], "gone does not exist", 1),
        (["gone", "--recipe", "qaat", "--out", "o"], "unknown pass 'qaat'; did you mean 'qat'?", 1),
        (["text.tflite", "--recipe", "finetune", "--out", "o"], "text.tflite is", 1),
        (["gone", "--out", "o"], "Missing option '--recipe'", 2),
    ],
)
def test_bad_input(words, sentence, code, tmp_path):
    (tmp_path / "text.tflite").write_text("no model")
    done = edgepress("compress", *words, cwd=tmp_path)
    assert done.returncode == code
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "o").exists()


def test_a_converted_model_is_told_where_to_begin(tmp_path, made):
    (tmp_path / "m.tflite").write_bytes(made["int8"])
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    hints = Hints(mean=(0.0,), std=(1.0,))
    with pytest.raises(EdgepressError, match="is converted already, and only a Keras model can be compressed"):
        compress(CompressConfig(tmp_path / "m.tflite", tmp_path / "out", "finetune", hints=hints))


def test_the_list_of_passes_needs_nothing_else():
    done = edgepress("compress", "--list")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in PASSES)


def test_a_pass_may_return_a_model_a_plan_or_both(network):
    from edgepress_convert.compress.recipe import Bound
    from edgepress_train.spec import Step

    plan = Plan(scheme="int16x8")
    start = Candidate(network, Plan())
    for returned, expected in (
        (network, start),
        (plan, Candidate(network, plan)),
        (Candidate(network, plan), Candidate(network, plan)),
    ):
        step = Bound(Step("x"), lambda model, job, result=returned: result, None)
        assert chain.apply(step, start, None) == expected


def test_training_on_keeps_zeros_and_shared_values(colour_run, tmp_path, stand_ins):
    compress(CompressConfig(colour_run, tmp_path / "zeros", "halve:0.4"))
    compress(CompressConfig(tmp_path / "zeros", tmp_path / "on", "finetune:2"))
    before, after = (keras.models.load_model(tmp_path / n / "model.keras", compile=False) for n in ("zeros", "on"))
    moved = 0
    for old, new in zip(before.get_weights(), after.get_weights(), strict=True):
        if old.ndim > 1:
            assert np.array_equal(old == 0, new == 0)
        moved += int(not np.array_equal(old, new))
    assert moved


def test_a_model_that_ends_litert_is_measured_and_refused_in_a_sentence(colour_run, network, tmp_path, stand_ins):
    """The scales of one convolution are so far apart that loading the model would abort this very process."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    kernel, bias = copy.get_layer("mix").get_weights()
    copy.get_layer("mix").set_weights([kernel * 1e-6, bias * 1e-6])
    kernel, bias = copy.get_layer("blur").get_weights()
    bias[:] = 0
    kernel[:] *= 1e6
    kernel[:, :, 7] = 1e12
    copy.get_layer("blur").set_weights([kernel, bias])
    first = run.load(colour_run)
    path = tmp_path / "ill"
    path.mkdir()
    run.save(dataclasses.replace(first, path=path), copy)
    from edgepress_convert.flatbuffer import graphs
    from edgepress_convert.multipliers import deadly

    pixels = np.random.default_rng(0).normal(size=(8, 12, 12, 3)).astype(np.float32)
    ill = quantize.convert(copy, ("int8",), representative=pixels)["int8"]
    assert deadly(graphs(ill)[0])
    with pytest.raises(EdgepressError, match="LiteRT aborts when it loads this model"):
        convert(ConvertConfig(path, tmp_path / "ill.edge"))
    result = compress(CompressConfig(path, tmp_path / "out", "halve"))
    assert result.steps[0].speedup is None
