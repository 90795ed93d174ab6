"""Images of cards, made and checked with the file system's own tools."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from edgepress_convert import card
from edgepress_convert.flash import flash
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.store import Store

SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"
MKE2FS, DEBUGFS, E2FSCK = (shutil.which(name, path=SBIN) for name in ("mke2fs", "debugfs", "e2fsck"))
pytestmark = pytest.mark.skipif(not (MKE2FS and DEBUGFS and E2FSCK), reason="needs e2fsprogs")
BEGIN = 8 << 20  # of the second partition


@pytest.fixture
def image(tmp_path):
    """A card: a boot partition that is not looked at, and an ext4 root with /etc and /var/lib."""
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "var" / "lib").mkdir(parents=True)
    (root / "etc" / "hostname").write_text("pi\n")
    path = tmp_path / "card.img"
    with path.open("wb") as file:
        # A partition table of 1983: FAT32 at 1 MB, Linux at BEGIN
        for entry, (kind, start, sectors) in enumerate([(0x0C, 2048, 8192), (0x83, BEGIN // 512, 32000)]):
            file.seek(446 + 16 * entry)
            file.write(struct.pack("<4xB3xII", kind, start, sectors))
        file.seek(510)
        file.write(b"\x55\xaa")
        file.truncate(BEGIN + (16 << 20))
    made = [MKE2FS, "-q", "-t", "ext4", "-d", root, "-E", f"offset={BEGIN},root_owner=0:0", path, "16000k"]
    subprocess.run(made, check=True, capture_output=True)
    return path


def extracted(image: Path, path: str, into: Path) -> Path:
    into.mkdir()
    subprocess.run([DEBUGFS, "-R", f"rdump {path} {into}", f"{image}?offset={BEGIN}"], check=True, capture_output=True)
    return into / Path(path).name


def clean(image: Path) -> bool:
    return subprocess.run([E2FSCK, "-fn", f"{image}?offset={BEGIN}"], capture_output=True, check=False).returncode == 0


def test_a_bundle_gets_onto_a_card_and_again(image, bundle_file, tmp_path):
    name = open_bundle(bundle_file).manifest.name
    done = flash(bundle_file, str(image))
    assert (done.name, done.previous, done.changed) == (name, None, True)
    assert clean(image)
    store = Store(extracted(image, "/var/lib/edgepress", tmp_path / "out"))
    assert store.open(name).digest == done.installed
    listed = subprocess.run(
        [DEBUGFS, "-R", f"stat /var/lib/edgepress/{name}/current/model.tflite", f"{image}?offset={BEGIN}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "Mode:  0644" in listed and "User:     0" in listed
    before = image.read_bytes()
    assert not flash(bundle_file, str(image)).changed
    assert image.read_bytes() == before
    assert [path.name for path in image.parent.iterdir() if path.name.startswith(".")] == []


def test_an_update_keeps_the_release_before(image, bundle_file, tmp_path, made):
    from tests.convert.conftest import pack

    first = flash(bundle_file, str(image))
    other = tmp_path / "other.edge"
    pack(other, made["float32"], name=first.name)
    second = flash(other, str(image))
    assert second.previous == first.installed and second.changed
    assert clean(image)
    store = Store(extracted(image, "/var/lib/edgepress", tmp_path / "out"))
    (status,) = store.list()
    assert (status.installed, status.previous, status.problem) == (second.installed, first.installed, None)


def test_folders_above_the_store_are_made(image, bundle_file, tmp_path):
    flash(bundle_file, str(image), root="/srv/models/edge")
    assert clean(image)
    assert len(Store(extracted(image, "/srv/models/edge", tmp_path / "out")).names()) == 1


def test_a_bare_file_system_is_an_image_too(bundle_file, tmp_path):
    (tmp_path / "root" / "etc").mkdir(parents=True)
    path = tmp_path / "root.ext4"
    subprocess.run([MKE2FS, "-q", "-t", "ext4", "-d", tmp_path / "root", path, "16M"], check=True, capture_output=True)
    assert card.root_offset(path) == 0
    assert flash(bundle_file, str(path)).changed


def test_a_full_card_is_told_and_left_as_it_was(bundle_file, tmp_path):
    (tmp_path / "root" / "etc").mkdir(parents=True)
    path = tmp_path / "full.img"
    subprocess.run([MKE2FS, "-q", "-b", "1024", "-d", tmp_path / "root", path, "860k"], check=True, capture_output=True)
    told = subprocess.run([DEBUGFS, "-R", "stats -h", path], capture_output=True, text=True, check=True).stdout
    (free,) = (int(line.split()[-1]) for line in told.splitlines() if line.startswith("Free blocks:"))
    (tmp_path / "big").write_bytes(os.urandom(1024 * (free - 12)))
    subprocess.run([DEBUGFS, "-w", "-R", f"write {tmp_path}/big big", path], check=True, capture_output=True)
    before = path.read_bytes()
    with pytest.raises(EdgepressError, match="could not be changed and is as it was"):
        flash(bundle_file, str(path))
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "holds no ext4 file system"), (b"\0" * 4096, "holds no ext4 file system"), (b"x" * 600, "holds no ext4")],
)
def test_what_is_no_card_is_told(tmp_path, bundle_file, content, sentence):
    (tmp_path / "x.img").write_bytes(content)
    with pytest.raises(EdgepressError, match=sentence):
        flash(bundle_file, str(tmp_path / "x.img"))
    assert (tmp_path / "x.img").read_bytes() == content


def test_an_image_without_a_system_is_told(tmp_path, bundle_file):
    path = tmp_path / "empty.img"
    subprocess.run([MKE2FS, "-q", "-t", "ext4", path, "8M"], check=True, capture_output=True)
    with pytest.raises(EdgepressError, match="there is no /etc on it"):
        flash(bundle_file, str(path))
