"""The classifier against the bare interpreter fed by plain arithmetic, on every kind of input tensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_runtime import manifest as manifests
from edgepress_runtime.classify import Classifier, filler, shift_of
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import lookup
from edgepress_runtime.manifest import ImageSpec, TensorSpec

KINDS = ("float32", "uint8", "int8", "int16")
# mean and std: the plain one; one that saturates at both ends; one a channel, as ImageNet's.
SCALINGS = {
    "plain": ((0.0,) * 3, (255.0,) * 3),
    "saturating": ((100.0,) * 3, (31.0,) * 3),
    "by channel": ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4)),
}


@pytest.fixture
def loaded(build):
    """A function: (kind, scaling) -> (classifier, model bytes, manifest)."""
    engines = []

    def load(kind, scaling="plain", **changes):
        members = build.members_of(kind)
        mean, std = SCALINGS[scaling]
        manifest = manifests.load(members["manifest.json"])
        manifest = replace(manifest, preprocessing=ImageSpec(*build.SIZE, mean=mean, std=std), **changes)
        engines.append(open_engine(members["model.tflite"], threads=1))
        return Classifier(engines[-1], manifest), members["model.tflite"], manifest

    yield load
    for engine in engines:
        engine.close()


def truth(build, model, manifest, pixels):
    """Scores by float64 arithmetic and the interpreter's own set and get, saturating as the tensor's dtype does."""
    (source,), (target,) = manifest.inputs, manifest.outputs
    real = (pixels.astype(np.float64) - manifest.preprocessing.mean) / manifest.preprocessing.std
    stored = real
    if source.dtype != "float32":
        limits = np.iinfo(source.dtype)
        stored = np.clip(np.rint(real / source.scale) + source.zero_point, limits.min, limits.max)
    answer = build.bare_run(model, stored[np.newaxis].astype(source.dtype))[0].astype(np.float64)
    return answer if target.scale is None else (answer - target.zero_point) * target.scale


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_winner(build, loaded, kind, scaling):
    classifier, model, manifest = loaded(kind, scaling)
    rng = np.random.default_rng(5)
    pictures = [rng.integers(0, 256, build.SIZE, np.uint8) for _ in range(20)]
    pictures += [np.full(build.SIZE, value, np.uint8) for value in (0, 1, 127, 128, 254, 255)]
    winners = set()
    for pixels in pictures:
        expected = truth(build, model, manifest, pixels)
        np.testing.assert_allclose(
            classifier.scores(pixels), expected, rtol=0, atol=2e-6 if kind == "float32" else 1 / 250
        )
        best = classifier.classify(pixels)
        scores = classifier.scores(pixels)
        assert best.index == int(np.argmax(scores))
        assert best.label == build.LABELS[best.index]
        assert type(best.index) is int and type(best.score) is float
        assert best.score == pytest.approx(float(scores[best.index]), abs=1e-7)
        winners.add(best.label)
    assert len(winners) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_input_tensor_holds_the_table_to_the_bit(build, loaded, kind):
    for scaling in SCALINGS:
        classifier, _, manifest = loaded(kind, scaling)
        pixels = np.random.default_rng(1).integers(0, 256, build.SIZE, np.uint8)
        expected = lookup(manifest.preprocessing, manifest.inputs[0])[pixels, np.arange(3)]
        for call in (classifier.classify, classifier.scores):
            # LiteRT may plan an output over an input that is no longer needed, so look before it runs.
            seen = []
            engine = classifier._engine
            call_on = Classifier(Spy(engine, seen), manifest)
            getattr(call_on, call.__name__ if call.__name__ == "scores" else "classify")(pixels)
            np.testing.assert_array_equal(seen[0][0], expected)


class Spy:
    """An engine that copies its input tensor at the moment of `invoke`."""

    def __init__(self, engine, seen):
        self._engine, self._seen = engine, seen

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def invoke(self):
        self._seen.append(self._engine.input_view().copy())
        self._engine.invoke()


@pytest.mark.parametrize("target", ["int8", "uint8"])
@given(shift=st.lists(st.integers(0, 255), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_shift_is_found_exactly_when_the_table_is_one(target, shift):
    table = (np.arange(256)[:, np.newaxis] + shift).astype(np.uint8).view(target)
    np.testing.assert_array_equal(shift_of(table), shift)
    table[(shift[0] * 7) % 256, shift[1] % 3] ^= 1
    assert shift_of(table) is None


@pytest.mark.parametrize("shape", [(6, 5, 3), (5, 5, 3), (3, 3, 1), (4, 3, 1), (1, 1, 1), (1, 2, 3)])
@pytest.mark.parametrize("target", ["int8", "uint8"])
def test_every_way_of_filling_gives_what_the_table_says(shape, target):
    rng = np.random.default_rng(8)
    noise = rng.integers(0, 256, (256, shape[2]), np.uint8).view(target)
    shifted = (np.arange(256)[:, np.newaxis] + rng.integers(0, 256, shape[2])).astype(np.uint8).view(target)
    for table in (noise, shifted, np.repeat(noise[:, :1], shape[2], axis=1)):
        fill, form = filler(table, shape)
        for pixels in (rng.integers(0, 256, shape, np.uint8), rng.integers(0, 256, shape[::-1], np.uint8).T):
            found = np.empty(shape, np.uint8)
            fill(pixels, form, found)
            np.testing.assert_array_equal(found.view(target), table[pixels, np.arange(shape[2])])


def test_the_usual_int8_model_takes_the_short_way():
    spec = ImageSpec(1, 1, 1, (0.0,), (255.0,))
    assert shift_of(lookup(spec, TensorSpec("x", (1, 1, 1, 1), "int8", 1 / 255, -128))).tolist() == [128]
    assert shift_of(lookup(spec, TensorSpec("x", (1, 1, 1, 1), "uint8", 1 / 255, 0))).tolist() == [0]
    assert shift_of(lookup(spec, TensorSpec("x", (1, 1, 1, 1), "int8", 1 / 200, -128))) is None
    assert shift_of(lookup(spec, TensorSpec("x", (1, 1, 1, 1), "int16", 1 / 255, 0))) is None


@pytest.mark.parametrize("kind", KINDS)
def test_top_is_sorted_and_stable(build, loaded, kind):
    classifier, _, _ = loaded(kind)
    pixels = np.random.default_rng(2).integers(0, 256, build.SIZE, np.uint8)
    scores = classifier.scores(pixels)
    top = classifier.top(pixels, 99)
    assert [s.index for s in top] == sorted(range(5), key=lambda i: (-scores[i], i))
    assert [s.score for s in top] == [float(scores[s.index]) for s in top]
    assert classifier.top(pixels, 2) == top[:2]


@pytest.mark.parametrize("kind", KINDS)
def test_pixels_of_another_shape_or_dtype_are_refused(build, loaded, kind):
    classifier, _, _ = loaded(kind)
    fine = np.zeros(build.SIZE, np.uint8)
    for wrong, found in (
        (fine[1:], "uint8 [5, 5, 3]"),
        (fine[..., :1], "uint8 [6, 5, 1]"),
        (fine[np.newaxis], "uint8 [1, 6, 5, 3]"),
        (fine.astype(np.int8), "int8 [6, 5, 3]"),
        (fine.astype(np.float32), "float32 [6, 5, 3]"),
        (fine.astype(bool), "bool [6, 5, 3]"),
    ):
        for call in (classifier.classify, classifier.scores, classifier.top):
            with pytest.raises(EdgepressError) as caught:
                call(wrong)
            assert caught.value.what == f"pixels should be uint8 [6, 5, 3], not {found}"


def test_pixels_need_not_be_contiguous(build, loaded):
    for kind in KINDS:
        for scaling in SCALINGS:
            classifier, _, _ = loaded(kind, scaling)
            wide = np.random.default_rng(3).integers(0, 256, (6, 10, 3), np.uint8)
            for view in (wide[:, ::2], wide[::-1, :5], wide[:, 5:, ::-1]):
                assert classifier.classify(view) == classifier.classify(np.ascontiguousarray(view))


def test_nan_is_not_an_answer(build, loaded):
    model = build.dense_model("float32", nan=True)
    inputs, outputs = build.described(model)
    manifest = replace(loaded("float32")[2])
    with open_engine(model) as engine:
        classifier = Classifier(engine, manifest)
        pixels = np.full(build.SIZE, 255, np.uint8)
        for call in (classifier.classify, classifier.scores, classifier.top):
            with pytest.raises(EdgepressError, match="the model answered with something that is no number"):
                call(pixels)
    assert (inputs[0]["dtype"], outputs[0]["dtype"]) == ("float32", "float32")


def test_a_manifest_of_another_model_is_refused(build, loaded):
    _, model, manifest = loaded("int8")
    (tensor,) = manifest.inputs
    small = ImageSpec(3, 3, 3, (0.0,) * 3, (255.0,) * 3)
    for wrong, sentence in (
        (replace(manifest, inputs=(replace(tensor, scale=0.5),)), "the manifest says int8 [1, 6, 5, 3] scale 0.5"),
        (replace(manifest, preprocessing=small), "the manifest prepares pictures as [1, 3, 3, 3], the model takes"),
        (replace(manifest, labels=("a", "b")), "the model gives [1, 5], but the manifest has 2 labels"),
    ):
        with open_engine(model) as engine, pytest.raises(EdgepressError) as caught:
            Classifier(engine, wrong)
        assert sentence in caught.value.what


def test_two_classifiers_in_turn(build, loaded):
    one, _, _ = loaded("int8")
    two, _, _ = loaded("uint8", "by channel")
    pictures = np.random.default_rng(4).integers(0, 256, (6, *build.SIZE), np.uint8)
    alone = [[c.classify(p) for p in pictures] for c in (one, two)]
    mixed = [[c.classify(p) for c in (one, two)] for p in pictures]
    assert [list(pair) for pair in zip(*alone)] == mixed
