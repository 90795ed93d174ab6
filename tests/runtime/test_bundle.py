"""Opening bundles: what a host writes opens as it was; every attack and every accident is refused in one sentence."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile

import numpy as np
import pytest

from edgepress_runtime import archive
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import BundleError


def refusal(tmp_path, data: bytes) -> str:
    """The sentence with which these bytes are refused."""
    path = tmp_path / "x.edge"
    path.write_bytes(data)
    with pytest.raises(BundleError) as caught:
        open_bundle(path)
    return caught.value.what


def resealed(build, members, **files):
    """A bundle whose manifest vouches for changed members, as an attacker would make it."""
    members = {**members, **{name.replace("_", "."): data for name, data in files.items()}}
    manifest = json.loads(members["manifest.json"])
    manifest["members"] = {n: hashlib.sha256(d).hexdigest() for n, d in members.items() if n != "manifest.json"}
    return build.zipped({**members, "manifest.json": json.dumps(manifest).encode()})


def edited(build, whole, **changes):
    manifest = {**json.loads(whole["manifest.json"]), **changes}
    return build.zipped({**whole, "manifest.json": json.dumps(manifest).encode()})


@pytest.fixture(scope="module")
def members():
    # The fixture `build` is made for each test; this one saves building the model anew each time.
    return {}


@pytest.fixture
def whole(build, members):
    if not members:
        members.update(build.members_of())
    return dict(members)


def test_a_whole_bundle(build, make_bundle):
    path = make_bundle()
    bundle = open_bundle(path)
    with zipfile.ZipFile(path) as truth:
        assert {n: bytes(m) for n, m in bundle.members.items()} == {n: truth.read(n) for n in truth.namelist()}
    assert bundle.digest == hashlib.sha256(bundle.members["manifest.json"]).hexdigest()
    assert bundle.manifest.name == "pets"
    assert bundle.manifest.labels == build.LABELS
    assert bundle.signature is None
    assert bytes(bundle.model[4:8]) == b"TFL3"
    assert all(m.readonly for m in bundle.members.values())


def test_the_model_lies_on_a_multiple_of_64_and_is_a_view_of_the_file(make_bundle):
    data = make_bundle().read_bytes()
    bundle = open_bundle(make_bundle())
    assert data.find(bytes(bundle.model)) % 64 == 0
    assert bundle.model.obj is bundle.members["golden.npz"].obj


def test_golden_cases_equal_what_numpy_reads(make_bundle):
    path = make_bundle("float32")
    golden = open_bundle(path).golden()
    with zipfile.ZipFile(path) as archive_file, archive_file.open("golden.npz") as file:
        truth = np.load(file)
        np.testing.assert_array_equal(golden.inputs, truth["inputs"])
        np.testing.assert_array_equal(golden.outputs, truth["outputs"])
    assert len(golden) == 4
    assert not golden.inputs.flags.writeable


def test_golden_cases_in_fortran_order(build, tmp_path, whole):
    truth = np.random.default_rng(3).integers(-128, 127, (4, *build.SIZE), np.int8)
    outputs = np.zeros((4, 5), np.int8)
    path = tmp_path / "x.edge"
    path.write_bytes(resealed(build, whole, golden_npz=build.npz(inputs=np.asfortranarray(truth), outputs=outputs)))
    np.testing.assert_array_equal(open_bundle(path).golden().inputs, truth)


def test_a_release_folder_is_the_same_bundle(tmp_path, make_bundle):
    bundle = open_bundle(make_bundle())
    folder = tmp_path / "release"
    folder.mkdir()
    for name, data in bundle.members.items():
        (folder / name).write_bytes(data)
    again = open_bundle(folder)
    assert (again.digest, again.manifest) == (bundle.digest, bundle.manifest)
    assert again.model_source == folder / "model.tflite"


def test_a_signature_and_further_members_are_carried(build, tmp_path, whole):
    path = tmp_path / "x.edge"
    path.write_bytes(resealed(build, {**whole, "notes.md": b"hello"}))
    assert bytes(open_bundle(path).members["notes.md"]) == b"hello"
    path.write_bytes(build.zipped({**whole, "manifest.sig": b"s" * 64}))
    bundle = open_bundle(path)
    assert bundle.signature == b"s" * 64
    assert bundle.digest == hashlib.sha256(whole["manifest.json"]).hexdigest()


# ---- accidents


def test_missing_empty_and_foreign_files(tmp_path):
    with pytest.raises(BundleError, match=r"nothing\.edge does not exist"):
        open_bundle(tmp_path / "nothing.edge")
    for data in (b"", b"hello", b"\xff" * 5000, b"PK"):
        assert refusal(tmp_path, data) == "x.edge is not an edgepress bundle"


def test_every_truncation(build, tmp_path, whole):
    data = build.zipped(whole)
    for length in [*range(4, 120), *range(120, len(data), 97), *range(len(data) - 60, len(data))]:
        assert refusal(tmp_path, data[:length]) == "x.edge is truncated, or something was appended to it"


def test_appended_and_prepended_bytes(build, tmp_path, whole):
    data = build.zipped(whole)
    assert refusal(tmp_path, data + b"\n") == "x.edge is truncated, or something was appended to it"
    assert refusal(tmp_path, b"#!/bin/sh\n" + data) == "x.edge is not an edgepress bundle"
    assert "has bytes that belong to no member" in refusal(tmp_path, data[:4] + b"xx" + data[4:])


@pytest.mark.parametrize("member", ["manifest.json", "labels.txt", "golden.npz", "model.tflite"])
def test_one_flipped_bit(build, tmp_path, whole, member):
    data = bytearray(build.zipped(whole))
    data[data.find(whole[member][:200]) + len(whole[member]) // 2] ^= 4
    assert refusal(tmp_path, bytes(data)) == f"{member} in x.edge was altered or damaged on the way"


def test_a_changed_member_with_a_right_crc(build, tmp_path, whole):
    changed = {**whole, "model.tflite": whole["model.tflite"][:-1] + b"!"}
    assert refusal(tmp_path, build.zipped(changed)) == "model.tflite in x.edge does not match its checksum"


@pytest.mark.parametrize("member", ["manifest.json", "labels.txt", "golden.npz", "model.tflite"])
def test_a_missing_member(build, tmp_path, whole, member):
    del whole[member]
    sentence = refusal(tmp_path, build.zipped(whole))
    assert f"lacks {member}" in sentence or "holds no manifest.json" in sentence


def test_a_newer_format(build, tmp_path, whole):
    sentence = "this bundle has format 2; this runtime reads up to 1"
    assert refusal(tmp_path, edited(build, whole, format=2, future={"key": 1})) == sentence


def test_labels_that_differ_from_the_manifest(build, tmp_path, whole):
    sentence = "labels.txt in x.edge differs from the labels in its manifest"
    assert refusal(tmp_path, resealed(build, whole, labels_txt=b"dog\ncat\nfish\nbird\nzebra fish\n")) == sentence


def test_a_folder_with_a_link_or_a_pipe(build, tmp_path, whole):
    for make in (lambda p: p.symlink_to(__file__), os.mkfifo, lambda p: p.mkdir()):
        folder = tmp_path / "release"
        folder.mkdir()
        for name, data in whole.items():
            (folder / name).write_bytes(data)
        (folder / "labels.txt").unlink()
        make(folder / "labels.txt")
        with pytest.raises(BundleError, match=r"release holds 'labels\.txt', which is not a plain file"):
            open_bundle(folder)
        folder.rename(tmp_path / f"release-{len(list(tmp_path.iterdir()))}")


def test_a_pipe_in_place_of_the_file(tmp_path):
    os.mkfifo(tmp_path / "x.edge")
    with pytest.raises(BundleError, match=r"x\.edge is not a plain file"):
        open_bundle(tmp_path / "x.edge")


# ---- attacks on the zip


def written(members, edit=lambda info: None, method=zipfile.ZIP_STORED):
    """A zip of (name, data) pairs, each entry through `edit` first."""
    import io
    import warnings

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as target, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of duplicate names
        for name, data in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            edit(info)
            target.writestr(info, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/b", "..", ".hidden", "C:evil", "a\\b", "a\nb", "", "x" * 65, "A.txt", "é.txt"]
)
def test_unsafe_names(tmp_path, whole, name):
    sentence = refusal(tmp_path, written([*whole.items(), (name, b"x")]))
    assert "holds a member with the unsafe name" in sentence
    assert "\n" not in sentence


def test_a_folder_entry(tmp_path, whole):
    assert "holds the folder 'evil/'" in refusal(tmp_path, written([*whole.items(), ("evil/", b"")]))


@pytest.mark.parametrize(("mode", "kind"), [(0o120777, "a symbolic link"), (0o020666, "a special file")])
def test_links_and_devices(tmp_path, whole, mode, kind):
    def edit(info):
        if info.filename == "labels.txt":
            info.external_attr = mode << 16

    assert f"holds 'labels.txt' as {kind}" in refusal(tmp_path, written(whole.items(), edit))


def test_two_members_of_one_name(tmp_path, whole):
    assert "holds two members named 'labels.txt'" in refusal(tmp_path, written([*whole.items(), ("labels.txt", b"x")]))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members(tmp_path, whole, method):
    assert "compressed; members of a bundle are stored" in refusal(tmp_path, written(whole.items(), method=method))


def test_a_compression_bomb(tmp_path):
    bomb = written([("manifest.json", b"0" * 50_000_000)], method=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 60_000
    assert "compressed" in refusal(tmp_path, bomb)


def patched(data: bytes, name: str, offset: int, value: bytes, *, central: bool) -> bytes:
    """`data` with bytes of a member's header replaced, `offset` from its signature."""
    data = bytearray(data)
    at = 0
    while True:
        at = data.index(b"PK\x01\x02" if central else b"PK\x03\x04", at)
        start = at + (46 if central else 30)
        if data[start : start + len(name)] == name.encode():
            data[at + offset : at + offset + len(value)] = value
            return bytes(data)
        at += 4


@pytest.mark.parametrize(
    ("offset", "value", "central", "sentence"),
    [
        (8, b"\x01\x00", True, "holds 'labels.txt' encrypted"),
        (8, b"\x08\x00", True, "holds 'labels.txt' in an unusual way (flags 0x8)"),
        (6, b"\x08\x00", False, "describes 'labels.txt' differently in its two headers"),
        (8, b"\x08\x00", False, "describes 'labels.txt' differently in its two headers"),
        (18, b"\x00\x00\x00\x00", False, "describes 'labels.txt' differently in its two headers"),
        (22, b"\x99\x00\x00\x00", False, "describes 'labels.txt' differently in its two headers"),
        (14, b"\x99\x00\x00\x00", False, "describes 'labels.txt' differently in its two headers"),
        (22, b"\xff\xff\xff\xff", False, "describes 'labels.txt' differently in its two headers"),
        (30, b"LABELS", False, "names 'labels.txt' differently in its two headers"),
        (20, b"\xff\xff\xff\x7f" * 2, True, "describes 'labels.txt' differently in its two headers"),
        (20, b"\xff\xff\xff\xff" * 2, True, "claims ZIP64 sizes, which no bundle needs"),
        (42, b"\xff\xff\xff\xff", True, "claims ZIP64 sizes, which no bundle needs"),
        (42, b"\x00\x00\x00\x00", True, "holds 'labels.txt' overlapping another member, or with a gap before it"),
        (42, b"\x01\x00\x00\x00", True, "holds 'labels.txt' overlapping another member, or with a gap before it"),
        (20, b"\x05\x00\x00\x00", True, "holds 'labels.txt' compressed; members of a bundle are stored"),
        (28, b"\xff\xff", True, "has a malformed directory"),
        (34, b"\x01\x00", True, "holds 'labels.txt' in an unusual way (flags 0x0)"),
        (28, b"\xff\xff", False, "describes 'labels.txt' differently in its two headers"),
    ],
)
def test_edited_headers(build, tmp_path, whole, offset, value, central, sentence):
    data = patched(build.zipped(whole), "labels.txt", offset, value, central=central)
    found = refusal(tmp_path, data)
    if not central and offset == 28:
        assert "claims more bytes" in found or "describes" in found
    else:
        assert found == f"x.edge {sentence}"


def test_two_members_that_share_their_bytes(build, tmp_path, whole):
    """A quine or bomb of overlapping members: both directory entries point to one local header."""
    data = build.zipped({**whole, "labels.tx2": whole["labels.txt"]})
    offset = struct.pack("<L", data.find(b"PK\x03\x04", data.find(b"labels.txt") - 40))
    found = refusal(tmp_path, patched(data, "labels.tx2", 42, offset, central=True))
    assert "overlapping" in found


@pytest.mark.parametrize(
    ("offset", "value", "sentence"),
    [
        (4, b"\x01\x00", "has a malformed end record"),
        (8, b"\xff\xff\xff\xff", "claims ZIP64 sizes, which no bundle needs"),
        (10, b"\x05\x00", "has a malformed end record"),
        (8, b"\x00\x00\x00\x00", "claims 0 members; 1 to 64 are allowed"),
        (8, b"\x03\x00\x03\x00", "has bytes that belong to no member"),
        (8, b"\x05\x00\x05\x00", "has a malformed directory"),
        (12, b"\x00\x00\x00\x00", "has bytes that belong to no member"),
        (12, b"\xff\xff\xff\x7f", "has bytes that belong to no member"),
        (16, b"\xff\xff\xff\xff", "claims ZIP64 sizes, which no bundle needs"),
        (20, b"\x01\x00", "has a malformed end record"),
    ],
)
def test_edited_end_record(build, tmp_path, whole, offset, value, sentence):
    data = build.zipped(whole)
    at = len(data) - 22 + offset
    assert refusal(tmp_path, data[:at] + value + data[at + len(value) :]) == f"x.edge {sentence}"


def test_a_comment_that_hides_a_second_archive(tmp_path, whole):
    data = written(whole.items())
    inner = written([("manifest.json", b"{}")])
    at = len(data) - 2
    both = data[:at] + struct.pack("<H", len(inner)) + inner
    assert refusal(tmp_path, both) == "x.edge has bytes that belong to no member"


def test_more_members_than_any_bundle_has(tmp_path):
    data = written([(f"m{i}", b"") for i in range(archive.MAX_MEMBERS + 1)])
    assert refusal(tmp_path, data) == "x.edge claims 65 members; 1 to 64 are allowed"


def test_a_file_larger_than_any_bundle(tmp_path):
    path = tmp_path / "x.edge"
    with path.open("wb") as file:
        file.truncate(600 * 1024 * 1024)
    with pytest.raises(BundleError, match="larger than 512 MB"):
        open_bundle(path)


def test_members_that_the_manifest_does_not_list(build, tmp_path, whole):
    assert (
        refusal(tmp_path, build.zipped({**whole, "extra": b""}))
        == "x.edge holds extra, which its manifest does not list"
    )


def test_a_manifest_that_vouches_for_itself(build, tmp_path, whole):
    for name in ("manifest.json", "manifest.sig"):
        listed = {**json.loads(whole["manifest.json"])["members"], name: "0" * 64}
        found = refusal(tmp_path, edited(build, {**whole, "manifest.sig": b""}, members=listed))
        assert found == f"the manifest of x.edge lists {name}, which cannot hold its own checksum"


# ---- attacks on golden.npz


class Evil:
    def __reduce__(self):
        return (os.system, ("touch /tmp/edgepress-was-here",))


def npy(header: bytes, body: bytes, version: bytes = b"\x01\x00") -> bytes:
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + body


GOOD = b"{'descr': '|i1', 'fortran_order': False, 'shape': (1, 6, 5, 3), }\n"


@pytest.mark.parametrize(
    "inputs",
    [
        npy(GOOD.replace(b"|i1", b"|O"), b"cos\nsystem\n(S'true'\ntR."),
        npy(GOOD.replace(b"(1,", b"(99999999999999,"), b"0" * 90),
        npy(GOOD.replace(b"(1,", b"(-1,"), b"0" * 90),
        npy(GOOD.replace(b"(1, 6", b"(2, 3"), b"0" * 90),
        npy(GOOD.replace(b"(1,", b"(" + b"9" * 4000 + b","), b"0" * 90),
        npy(GOOD.replace(b"(1,", b"(__import__('os').getpid(),"), b"0" * 90),
        npy(GOOD.replace(b"'|i1'", b"[('a', '|i1')]"), b"0" * 90),
        npy(GOOD.replace(b"|i1", b"<f8"), b"0" * 720),
        npy(GOOD, b"0" * 89),
        npy(GOOD, b"0" * 91),
        npy(GOOD, b"0" * 90, b"\x03\x00"),
        npy(b"(" * 5000, b"0" * 90),
        b"",
        b"\x93NUMPY",
        b"\x80\x04.",
    ],
    ids=[
        "object", "huge", "negative", "reshaped", "digits", "code", "record", "f8", "short", "long", "v3", "deep",
        "empty", "cut", "pickle",
    ],
)  # fmt: skip
def test_golden_arrays_that_are_not_what_they_should_be(build, tmp_path, whole, inputs):
    outputs = npy(b"{'descr': '|i1', 'fortran_order': False, 'shape': (1, 5), }\n", b"0" * 5)
    fine = written([("inputs.npy", npy(GOOD, b"0" * 90)), ("outputs.npy", outputs)])
    (tmp_path / "fine.edge").write_bytes(resealed(build, whole, golden_npz=fine))
    assert len(open_bundle(tmp_path / "fine.edge").golden()) == 1
    attack = written([("inputs.npy", inputs), ("outputs.npy", outputs)])
    assert "'inputs' in golden.npz" in refusal(tmp_path, resealed(build, whole, golden_npz=attack))


def test_golden_pickle_is_never_loaded(build, tmp_path, whole):
    array = np.array([Evil()], dtype=object)
    attack = build.npz(inputs=array, outputs=array)
    assert "'inputs' in golden.npz is not a plain array" in refusal(tmp_path, resealed(build, whole, golden_npz=attack))


def test_golden_cases_of_another_model(build, tmp_path, whole):
    cases = build.npz(inputs=np.zeros((2, *build.SIZE), np.uint8), outputs=np.zeros((2, 5), np.int8))
    found = refusal(tmp_path, resealed(build, whole, golden_npz=cases))
    assert found == ("'inputs' in golden.npz is |u1 [2, 6, 5, 3], but the model's tensor is int8 [1, 6, 5, 3]")


def test_golden_without_cases_or_with_unequal_numbers(build, tmp_path, whole):
    for n, m in ((0, 0), (2, 3)):
        cases = build.npz(inputs=np.zeros((n, *build.SIZE), np.int8), outputs=np.zeros((m, 5), np.int8))
        assert f"holds {n} inputs and {m} outputs" in refusal(tmp_path, resealed(build, whole, golden_npz=cases))


def test_golden_with_other_arrays_or_compressed(build, tmp_path, whole):
    array = np.zeros((1, 5), np.int8)
    assert "should hold the two arrays" in refusal(tmp_path, resealed(build, whole, golden_npz=build.npz(a=array)))
    bomb = written([("inputs.npy", b"0" * 10_000_000)], method=zipfile.ZIP_DEFLATED)
    assert "golden.npz holds 'inputs.npy' compressed" in refusal(tmp_path, resealed(build, whole, golden_npz=bomb))
