"""The overlay file: what is written is read, what is damaged is refused in a sentence, a cut leaves one of two."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json

import numpy as np
import pytest
from tests.runtime import lessons

from edgepress_runtime import disk, overlay
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.head import Examples, Head
from edgepress_runtime.overlay import Overlay, OverlayError, TaughtClass


def some(digest="0" * 64, labels=("white",), seed=0, threshold=None):
    rng = np.random.default_rng(seed)
    classes = []
    for label in labels:
        rows = rng.normal(0, 1, (7, lessons.EMBEDDING)).astype(np.float32)
        examples = Examples(rows, np.array([1, 1, 1, 0, 1, 1, 0]))
        classes.append(TaughtClass(label, examples, np.array([0, 0, 1, 1, 2, 2, 2]), threshold, {"found": 2}, "today"))
    columns = len(lessons.LABELS) + len(labels)
    head = Head(rng.normal(0, 1, (lessons.EMBEDDING, columns)).astype(np.float32), np.zeros(columns, np.float32))
    return Overlay(digest, tuple(classes), head)


def same(one, two):
    assert (one.digest, one.labels) == (two.digest, two.labels)
    assert np.array_equal(one.head.weights, two.head.weights)
    assert np.array_equal(one.head.bias, two.head.bias)
    for a, b in zip(one.classes, two.classes):
        assert (a.label, a.threshold, a.measured, a.created, a.files) == (
            b.label, b.threshold, b.measured, b.created, b.files,
        )  # fmt: skip
        assert np.array_equal(a.examples.embeddings, b.examples.embeddings)
        assert np.array_equal(a.examples.labels, b.examples.labels)
        assert np.array_equal(a.groups, b.groups)


def test_what_is_written_is_read(tmp_path):
    given = some(labels=("white", "Käse\N{SNOWMAN}"), threshold=0.75)
    path = tmp_path / "deep" / "x.taught"
    assert overlay.read(path) is None
    overlay.write(path, given)
    same(overlay.read(path), given)
    assert [p.name for p in path.parent.iterdir()] == ["x.taught"]
    with np.load(path, allow_pickle=False) as arrays:  # a plain .npz for other readers, too
        about = json.loads(arrays["about"].tobytes())
        assert about["members"]["weights"] == hashlib.sha256(arrays["weights"].tobytes()).hexdigest()
    overlay.remove(path)
    assert overlay.read(path) is None


def rewritten(path, change=lambda about: None, **arrays):
    """The file with another `about`, whose checksums are left as they were, and other arrays."""
    with np.load(path) as found:
        held = {name: found[name] for name in found.files}
    about = json.loads(held["about"].tobytes())
    change(about)
    held.update({name: array for name, array in arrays.items() if array is not None})
    held = {name: array for name, array in held.items() if name not in arrays or arrays[name] is not None}
    held["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez(buffer, **held)
    path.write_bytes(buffer.getvalue())


def resealed(about, name, array):
    about["members"][name] = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


NAN = np.full((lessons.EMBEDDING, 4), np.nan, np.float32)
WIDE = np.zeros((lessons.EMBEDDING, 9), np.float32)
DAMAGE = {
    "another weight": (lambda p: rewritten(p, weights=WIDE), "weights does not match its checksum"),
    "another label": (lambda p: rewritten(p, labels=np.ones(7, np.uint8)), "labels does not match its checksum"),
    "an array missing": (lambda p: rewritten(p, groups=None), "it holds other arrays than this version writes"),
    "one too many": (lambda p: rewritten(p, more=WIDE), "it holds other arrays than this version writes"),
    "another format": (lambda p: rewritten(p, lambda a: a.update(format=2)), "it was written by another version"),
    "another key": (lambda p: rewritten(p, lambda a: a.update(x=1)), "it was written by another version"),
    "no number": (lambda p: rewritten(p, lambda a: resealed(a, "weights", NAN), weights=NAN), "no number"),
    "another shape": (lambda p: rewritten(p, lambda a: resealed(a, "weights", WIDE), weights=WIDE), "do not fit"),
    "doubles": (
        lambda p: rewritten(p, lambda a: resealed(a, "bias", np.zeros(4)), bias=np.zeros(4)), "have other types",
    ),
    "more examples": (lambda p: rewritten(p, lambda a: a["classes"][0].update(examples=8)), "do not fit its examples"),
    "a control character": (lambda p: rewritten(p, lambda a: a["classes"][0].update(label="a\nb")), "control"),
    "a class less": (lambda p: rewritten(p, lambda a: a.update(classes=[])), "its classes do not fit its examples"),
    "cut short": (lambda p: p.write_bytes(p.read_bytes()[:-9]), "is truncated"),
    "one bit": (lambda p: p.write_bytes(p.read_bytes()[:700] + b"?" + p.read_bytes()[701:]), ""),
    "nothing in it": (lambda p: p.write_bytes(b""), "is not an edgepress bundle"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_in_a_sentence(tmp_path, name):
    damage, sentence = DAMAGE[name]
    path = tmp_path / "x.taught"
    overlay.write(path, some())
    damage(path)
    with pytest.raises(OverlayError) as error:
        overlay.read(path)
    assert error.value.what.startswith("what was taught is damaged: x.taught: ")
    assert sentence in error.value.what
    assert str(path) in error.value.remedy


def test_it_belongs_to_one_release_and_leaves_no_other_alone(tmp_path):
    bundle = open_bundle(lessons.write(tmp_path / "x.edge"))
    other = open_bundle(lessons.write(tmp_path / "y.edge", seed=1))
    assert bundle.digest != other.digest
    overlay.write(overlay.place(bundle), some(bundle.digest, threshold=0.9))
    told = []
    taught = overlay.in_use(bundle, told.append)
    assert taught.manifest.labels == (*lessons.LABELS, "white")
    assert taught.manifest.thresholds == {"white": 0.9}
    assert taught.head is not None
    assert told == []
    assert overlay.in_use(other, told.append) is other
    overlay.place(bundle).rename(overlay.place(other))
    assert overlay.in_use(bundle, told.append) is bundle
    assert overlay.in_use(other, told.append) is other
    (sentence,) = told
    assert sentence.startswith(f"not used: white was taught to another release ({bundle.digest[:12]}) of colours")
    overlay.place(other).write_bytes(b"junk")
    assert overlay.in_use(other, told.append) is other
    assert "damaged" in told[-1]
    assert overlay.in_use(other, told.append, str(tmp_path / "none")) is other
    assert "none does not exist" in told[-1]


def test_an_overlay_that_does_not_fit_is_not_used(tmp_path):
    bundle = open_bundle(lessons.write(tmp_path / "x.edge"))
    for wrong in (some(bundle.digest, labels=("red",)), some(bundle.digest, labels=("a", "a"))):
        with pytest.raises(OverlayError, match="does not fit it"):
            overlay.applied(bundle, wrong)
    narrow = some(bundle.digest)
    narrow = dataclasses.replace(narrow, head=Head(narrow.head.weights[:-1], narrow.head.bias))
    with pytest.raises(OverlayError, match="does not fit it"):
        overlay.applied(bundle, narrow)


class PowerCut(BaseException):
    """Nothing runs after it."""


def test_after_a_cut_at_any_call_the_old_or_the_new_is_there_and_the_next_write_works(tmp_path, monkeypatch):
    old, new = some(seed=1), some(seed=2)
    seen = set()
    for cut in range(60):
        path = tmp_path / str(cut) / "x.taught"
        overlay.write(path, old)
        calls = iter(range(1000))

        def call(name, path, action, calls=calls, cut=cut):
            if next(calls) == cut:
                raise PowerCut
            return action()

        with monkeypatch.context() as patch:
            patch.setattr(disk, "_system_call", call)
            try:
                overlay.write(path, new)
                finished = True
            except PowerCut:
                finished = False
        found = overlay.read(path)
        which = "new" if np.array_equal(found.head.weights, new.head.weights) else "old"
        same(found, new if which == "new" else old)
        assert which == "new" or not finished
        seen.add(which)
        overlay.write(path, new)
        same(overlay.read(path), new)
        assert [p.name for p in path.parent.iterdir()] == ["x.taught"]
        if finished:
            break
    assert finished
    assert seen == {"old", "new"}
