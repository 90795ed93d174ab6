"""Reading labelled utterances, and splits that no text straddles."""

from __future__ import annotations

import json
import zipfile
from collections import Counter

import numpy as np
import pytest

from edgepress_train.data.dataset import DataError, Holdout
from edgepress_train.data.text import open_texts, read_lines, reopen, same, split

ROWS = [
    (f"{verb} the {thing} number {n}", verb)
    for verb in ("open", "close")
    for thing in ("door", "window")
    for n in range(10)
]


def as_folder(root, rows=ROWS):
    for label in {label for _, label in rows}:
        (root / label).mkdir(parents=True)
        texts = [text for text, own in rows if own == label]
        (root / label / "a.txt").write_text("\n".join(texts[::2]) + "\n\n")
        (root / label / "b.txt").write_text("\r\n".join(texts[1::2]))
    return root


def as_table(path, rows=ROWS, *, header=True):
    gap = "\t" if path.suffix == ".tsv" else ","
    lines = [gap.join(("id", "label", "text"))] if header else []
    lines += [gap.join(("7", label, f'"{text}"') if header else (f'"{text}"', label)) for text, label in rows]
    path.write_text("\n".join(lines), encoding="utf-8-sig")
    return path


def as_jsonl(path, rows=ROWS):
    path.write_text("\n".join(json.dumps({"text": text, "label": label, "more": 1}) for text, label in rows))
    return path


def everything(dataset):
    return sorted(
        (text, dataset.labels[label])
        for part in dataset.splits.values()
        for text, label in zip(part.texts, part.labels, strict=True)
    )


@pytest.mark.parametrize("kind", ["folder", "zip", "csv", "tsv", "bare csv", "jsonl", "folder of tables"])
def test_every_form_gives_the_same_examples_and_the_same_split(tmp_path, kind):
    if kind in ("folder", "zip"):
        source = as_folder(tmp_path / "intents")
    elif kind == "folder of tables":
        (tmp_path / "tables").mkdir()
        as_table(tmp_path / "tables" / "one.csv", ROWS[:20])
        as_jsonl(tmp_path / "tables" / "two.jsonl", ROWS[20:])
        source = tmp_path / "tables"
    elif kind == "jsonl":
        source = as_jsonl(tmp_path / "x.jsonl")
    else:
        source = as_table(tmp_path / f"x.{kind[-3:]}", header=kind != "bare csv")
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for file in source.rglob("*.txt"):
                archive.write(file, file.relative_to(tmp_path))
        source = tmp_path / "x.zip"
    found = open_texts(str(source))
    assert found.labels == ("close", "open")
    assert everything(found) == sorted(ROWS)
    other = open_texts(str(as_table(tmp_path / "other.csv")))
    assert {name: set(part.texts) for name, part in found.splits.items()} == {
        name: set(part.texts) for name, part in other.splits.items()
    }


def test_parts_are_stratified_and_sized():
    parts = split({"train": ROWS}, Holdout(0, 0.25, 0.2))
    assert {name: len(rows) for name, rows in parts.items()} == {"test": 8, "val": 8, "train": 24}
    assert all(set(Counter(label for _, label in rows).values()) == {len(rows) // 2} for rows in parts.values())


def test_no_text_straddles_the_parts_however_often_it_is_said():
    rng = np.random.default_rng(0)
    said = [(text.upper() if rng.random() < 0.5 else f"  {text} ", label) for text, label in ROWS * 4]
    parts = split({"train": said}, Holdout(3, 0.3, 0.3))
    seen = [{same(text) for text, _ in rows} for rows in parts.values()]
    assert sum(map(len, seen)) == len(set().union(*seen)) == len(ROWS)
    assert sum(map(len, parts.values())) == len(said)


def test_another_seed_splits_otherwise_and_a_new_text_moves_no_other():
    before = split({"train": ROWS}, Holdout(0, 0.0, 0.5))["test"]
    assert before != split({"train": ROWS}, Holdout(1, 0.0, 0.5))["test"]
    more = [("close the gate", "close"), ("close the roof", "close"), *ROWS]
    after = split({"train": more}, Holdout(0, 0.0, 0.5))["test"]
    assert len(set(before) - set(after)) <= 1  # at most the last of one label is pushed out


def test_a_text_of_two_labels_stays_on_one_side():
    rows = [*ROWS, *((text, "close") for text, label in ROWS if label == "open")]
    parts = split({"train": rows}, Holdout(0, 0.3, 0.3))
    seen = [{same(text) for text, _ in part} for part in parts.values()]
    assert not seen[0] & seen[1] and not seen[0] & seen[2] and not seen[1] & seen[2]


def test_parts_that_the_data_brings_are_kept_and_what_is_in_two_of_them_leaves_the_training(tmp_path):
    as_table(tmp_path / "train.csv", ROWS)
    as_table(tmp_path / "test.csv", [("OPEN the door  number 3", "open"), ("shut it", "close")])
    found = open_texts(str(tmp_path), holdout=Holdout(0, 0.0, 0.5))
    assert found.splits["test"].texts == ("OPEN the door  number 3", "shut it")
    assert "open the door number 3" not in found.splits["train"].texts
    assert len(found.splits["train"]) == len(ROWS) - 1
    assert [(item.path, item.reason) for item in found.skipped] == [
        ("open the door number 3", "in train, and held out as well")
    ]
    assert not found.whole


def test_data_that_changed_are_not_reopened(tmp_path):
    path = as_table(tmp_path / "x.csv")
    told = json.loads(json.dumps(open_texts(str(path)).describe()))
    assert reopen(told).fingerprint == told["fingerprint"]
    as_table(path, [*ROWS[:-1], ("open sesame", "open")])
    with pytest.raises(DataError, match="is not what it was at training"):
        reopen(told)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("x.csv", "text,label\nhello,a\n", "has 1 labels; a classifier needs two"),
        ("x.csv", "a,b,c\nd,e,f\n", "has a row of 3 columns"),
        ("x.csv", "text,label\nhello\n", "has a row of 1 columns: 'hello'"),
        ("x.csv", "", "has no labelled texts"),
        ("x.csv", 'text,label\n"open,a\n', "is not a table"),
        ("x.jsonl", '{"text": "a", "label": "b"}\n{"text": "a"}', "line 2 of .* is no object with text and label"),
        ("x.jsonl", "[1]", "line 1 of .* is no object with text and label"),
        ("x.xlsx", "", "is no table of labelled texts"),
        ("x.csv", b"text,label\n\xff\xfe,a\n", "is not text in UTF-8"),
        ("x.csv", "text,label\nhello,a\x07\nhi,b\n", "control characters"),
    ],
)
def test_what_cannot_be_read_is_told(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Exception, match=sentence) as caught:
        open_texts(str(tmp_path / name))
    assert "\n" not in caught.value.what


def test_missing_data_and_empty_folders_are_told(tmp_path):
    for source in ("", str(tmp_path / "nowhere")):
        with pytest.raises(DataError, match="there is no text data"):
            open_texts(source)
        with pytest.raises(DataError, match="there is no plain text"):
            list(read_lines(source))
    with pytest.raises(DataError, match="has no labelled texts"):
        open_texts(str(tmp_path))


def test_rows_without_a_text_or_a_label_are_left_out(tmp_path):
    as_table(tmp_path / "x.csv", [*ROWS, ("", "open"), ("mumble", " ")])
    found = open_texts(str(tmp_path / "x.csv"))
    assert sum(map(len, found.splits.values())) == len(ROWS)
    assert [item.path for item in found.skipped] == ["x.csv:41", "x.csv:42"]


def test_plain_text_is_read_from_a_file_or_a_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "b.txt").write_text("three\n\n  four ")
    (tmp_path / "a.md").write_text("one\r\ntwo\n")
    (tmp_path / "deep" / "c.txt").write_text("five")
    (tmp_path / "other.bin").write_bytes(b"\xff")
    assert list(read_lines(str(tmp_path))) == ["one", "two", "three", "four", "five"]
    assert list(read_lines(str(tmp_path / "b.txt"))) == ["three", "four"]
