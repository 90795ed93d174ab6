"""The pass that keeps layers apart: it finds the one that is fragile, and mends what int8 broke."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.convert.conftest import convert_here
from tests.convert.taught import job as make_job
from tests.convert.test_sensitivity import colours, fragile, taught

from edgepress_convert import flatbuffer, quantize, verify
from edgepress_convert.compress import recipe
from edgepress_convert.compress.mixed import check, mixed
from edgepress_convert.examples import Examples
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert in this process, which has TensorFlow already."""
    monkeypatch.setattr(quantize, "convert", convert_here)


def error(model: keras.Model, plan: Plan) -> float:
    """Mean squared error of the scores, on pictures that nothing was chosen on."""
    pictures, _ = colours(90, seed=9)
    built = quantize.from_plan(model, plan, colours(48, seed=1)[0])
    found = verify.scores(built, Examples(pictures, lambda part: part, None, "pictures"))
    return float(((found - model.predict(pictures, verbose=0)) ** 2).mean())


def with_another(layer: keras.layers.Layer) -> keras.Model:
    """`fragile`, with a layer between its wide one and the next."""
    source = fragile()
    x = layer(source.get_layer("cut").output)
    for name in ("narrow", "mean", "head"):
        x = source.get_layer(name)(x)
    return keras.Model(source.inputs, x)


@pytest.mark.parametrize("scheme", ["int16x8", "float32"])
def test_keeping_the_fragile_layer_restores_the_scores(scheme: str, tmp_path: Path) -> None:
    notes: list[str] = []
    model, job = fragile(), taught(tmp_path, note=notes.append)
    plan = mixed(model, job, keep=1, scheme=scheme)
    assert plan == replace(job.plan, keep={"wide": scheme, "narrow": scheme})
    assert notes == [f"keeps wide in {scheme}, with what reads it: narrow"]
    assert error(model, plan) < error(model, Plan()) / 20
    # Kept alone, its output is rounded at the next door as before
    assert error(model, Plan(keep={"wide": scheme})) > error(model, Plan()) / 3


def test_the_rest_stays_int8(tmp_path: Path) -> None:
    model, job = fragile(), taught(tmp_path)
    built = quantize.from_plan(model, mixed(model, job, keep=1), job.representative)
    graph = flatbuffer.graphs(built)[0]
    read = [(op.kind, graph.tensors[op.inputs[0]].dtype) for op in graph.ops]
    assert read == [
        ("QUANTIZE", "int8"), ("CONV_2D", "int16"), ("CONV_2D", "int16"), ("QUANTIZE", "int16"),
        ("MEAN", "int8"), ("FULLY_CONNECTED", "int8"), ("SOFTMAX", "int8"),
    ]  # fmt: skip


def test_enough_is_enough(tmp_path: Path) -> None:
    """A drop that is allowed is not worth a layer; what is kept already counts, and what does not help is left out."""
    notes: list[str] = []
    model, job = fragile(), taught(tmp_path, note=notes.append)
    assert mixed(model, job, keep=3, max_drop=100.0) == job.plan
    mended = replace(job, plan=Plan(keep={"wide": "float32", "narrow": "float32"}))
    found = mixed(model, mended, keep=1)
    assert found == mended.plan
    assert notes == ["no layer kept in int16x8 would bring the scores nearer"]


def test_a_scheme_without_a_kernel_for_a_reader_is_passed_by(tmp_path: Path) -> None:
    """`wide` is read by a PReLU, which has no 16-bit kernel, so int16x8 cannot help it."""
    model = with_another(keras.layers.PReLU(shared_axes=[1, 2], name="slope"))
    assert "wide" not in mixed(model, taught(tmp_path), keep=2).keep


def test_two_rounded_tensors_in_a_row_are_mended_together(tmp_path: Path) -> None:
    """What `wide` gives is rounded, handed through a convolution, and rounded again: mending one changes nothing."""
    notes: list[str] = []
    model = with_another(keras.layers.DepthwiseConv2D(1, depthwise_initializer="ones", name="again"))
    job = taught(tmp_path, note=notes.append)
    plan = mixed(model, job, keep=2)
    assert set(plan.keep) == {"wide", "again", "narrow"}
    assert notes == ["keeps wide and again in int16x8, with what reads it: narrow"]
    assert error(model, plan) < error(model, Plan()) / 20
    assert mixed(model, job, keep=1) == job.plan


def test_the_pass_is_bound_as_a_recipe_names_it(tmp_path: Path) -> None:
    (bound,) = recipe.bind(recipe.read("mixed:1:scheme=float32"))
    assert (bound.function, bound.check) == (mixed, check)
    assert set(bound.function(fragile(), taught(tmp_path), **bound.options).keep.values()) == {"float32"}


@pytest.mark.parametrize(
    ("options", "plan", "sentence"),
    [
        ({"keep": 0}, Plan(), "mixed keeps 1 layer or more, not 0"),
        ({"scheme": "int16"}, Plan(), "layer 'head' cannot be kept in 'int16'; did you mean 'int16x8'?"),
        ({}, Plan("dynamic"), "the plan keeps head apart, which goes with int8 only, not with dynamic"),
        ({"max_drop": -1.0}, Plan(), "max_drop is -1 points, but must not be negative"),
        ({"max_drop": 1.0}, Plan(), "max_drop is measured on validation examples, and there are none"),
    ],
)
def test_refused_before_anything_is_measured(options: dict, plan: Plan, sentence: str, tmp_path: Path) -> None:
    job = make_job(tmp_path, np.zeros((6, 6, 6, 3), np.float32), np.arange(6) % 3, plan=plan)
    for function in (check, mixed):
        with pytest.raises(EdgepressError) as caught:
            function(fragile(), job, **options)
        assert caught.value.what == sentence
