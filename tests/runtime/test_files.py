"""Which word is the model, and which files are meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepress_runtime.files import find, split_target


@pytest.fixture
def tree(tmp_path, monkeypatch):
    for name in ("b.wav", "a.WAV", "photo.jpg", ".hidden.wav", "notes.txt", "deep/c.flac", ".git/d.wav"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_are_searched_for_what_is_asked(tree):
    assert find([Path()], (".wav", ".flac")) == [Path("a.WAV"), Path("b.wav"), Path("deep/c.flac")]
    assert find([Path(), Path("deep")], (".jpg",)) == [Path("photo.jpg")]


def test_files_that_are_named_are_taken_as_they_are(tree):
    assert find([Path("notes.txt"), Path("nowhere.wav")], (".wav",)) == [Path("notes.txt"), Path("nowhere.wav")]


@pytest.mark.parametrize(
    ("words", "model", "paths"),
    [
        (["x.edge", "b.wav"], "x.edge", ["b.wav"]),
        (["b.wav", "a.WAV"], None, ["b.wav", "a.WAV"]),
        (["gone.wav"], None, ["gone.wav"]),
        (["gone.jpg"], None, ["gone.jpg"]),
        (["deep"], None, ["deep"]),
        (["compter", "b.wav"], "compter", ["b.wav"]),
        (["gone/b"], None, ["gone/b"]),
        (["turn on the light"], None, ["turn on the light"]),
        (["orders", "turn//on"], "orders", ["turn//on"]),
    ],
)
def test_the_first_word_is_the_model_unless_it_is_a_file(tree, words, model, paths):
    assert split_target(words, str(tree / "store")) == (model, paths)
