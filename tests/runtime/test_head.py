"""The last layer: what a bundle brings is checked, and scores are those of numpy and of the engine."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.runtime import lessons
from tests.runtime.conftest import zipped

from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.classify import Classifier, embedder
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import BundleError, EdgepressError
from edgepress_runtime.head import Head, embedding_of, read, softmax


def test_the_bundles_own_head_scores_as_its_model_does(tmp_path):
    bundle = open_bundle(lessons.write(tmp_path / "x.edge"))
    head, kept = read(bundle)
    assert np.bincount(kept.labels).tolist() == [lessons.KEPT] * 3
    first, _, _ = lessons.layers()
    with open_engine(bundle.model_source) as engine:
        plain, by_head = Classifier(engine, bundle.manifest), Classifier(engine, bundle.manifest, head)
        embed = embedder(engine, bundle.manifest)
        for pixels in lessons.pictures("red", 5, 1) + lessons.pictures("white", 5, 2):
            assert np.allclose(embed(pixels)[0], lessons.embedding(pixels, first), atol=1e-5)
            assert np.allclose(by_head.scores(pixels), plain.scores(pixels), atol=1e-5)
            assert by_head.classify(pixels).index == plain.classify(pixels).index
            assert by_head.top(pixels, 2)[0].label == plain.top(pixels, 2)[0].label


def test_softmax_and_rows_that_do_not_depend_on_each_other():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 30, (6, 4))
    assert np.allclose(softmax(logits), np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    assert np.isfinite(softmax(np.array([[1e4, -1e4]]))).all()
    head = Head(rng.normal(0, 1, (50, 7)).astype(np.float32), rng.normal(0, 1, 7).astype(np.float32))
    rows = rng.normal(0, 1, (33, 50)).astype(np.float32)
    assert np.array_equal(head.scores(rows)[5:6], head.scores(rows[5:6]))
    with pytest.raises(EdgepressError, match="no number"):
        head.scores(np.full((1, 50), np.nan, np.float32))


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"weights": np.zeros((6, 4), np.float32)}, "'weights' in head.npz is float32 [6, 4], not float32 [6, 3]"),
        ({"weights": np.zeros((6, 3))}, "'weights' in head.npz is float64 [6, 3], not float32 [6, 3]"),
        ({"bias": np.full(3, np.inf, np.float32)}, "'bias' in head.npz holds something that is no number"),
        ({"kept": np.zeros((2, 6), np.float32)}, "'kept_labels' in head.npz is int32 [36], not int32 [2]"),
        ({"kept_labels": np.repeat(np.array([0, 1, 3], np.int32), 12)}, "does not hold two examples or more of every"),
        ({"kept_labels": np.repeat(np.array([0, 1, -2], np.int32), 12)}, "does not hold two examples or more of every"),
        ({"more": np.zeros(3)}, "head.npz should hold 'weights', 'bias', 'kept' and 'kept_labels'"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(tmp_path, arrays, sentence):
    with pytest.raises(BundleError) as error:
        read(open_bundle(lessons.write(tmp_path / "x.edge", head=arrays)))
    assert sentence in error.value.what


@pytest.mark.parametrize(
    ("teaching", "sentence"),
    [
        ({"output": 0, "size": 6}, "output 0 of 2 cannot be the embedding"),
        ({"output": 2, "size": 6}, "output 2 of 2 cannot be the embedding"),
        ({"output": 1, "size": 7}, "the embedding has 6 numbers, not 7"),
        ({"output": True, "size": 6}, "teaching.output should be int, not bool"),
        ({"output": 1}, "teaching lacks the key 'size'"),
        ({"output": 1, "size": 6, "more": 1}, "teaching has the unknown key 'more'"),
        (7, "teaching should be dict, not int"),
    ],
)
def test_a_manifest_that_says_it_wrongly_is_refused(tmp_path, teaching, sentence):
    with pytest.raises(BundleError) as error:
        open_bundle(lessons.write(tmp_path / "x.edge", teaching=teaching))
    assert sentence in error.value.what


def test_a_bundle_that_lacks_its_head_is_refused(tmp_path):
    found = lessons.members()
    manifest = json.loads(found["manifest.json"])
    del manifest["members"]["head.npz"], found["head.npz"]
    path = tmp_path / "x.edge"
    path.write_bytes(zipped({**found, "manifest.json": json.dumps(manifest).encode()}))
    with pytest.raises(BundleError, match=r"a bundle that can be taught lacks head\.npz"):
        open_bundle(path)


def test_a_bundle_that_says_nothing_of_it_cannot_be_taught(make_bundle):
    with pytest.raises(EdgepressError, match="pets was not made to be taught") as error:
        embedding_of(open_bundle(make_bundle()).manifest)
    assert "--teachable" in error.value.remedy
