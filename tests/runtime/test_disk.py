"""The durable calls: contents, atomic replacement, and one sentence for each refusal of the system."""

from __future__ import annotations

import errno
import os

import pytest

from edgepress_runtime import disk
from edgepress_runtime.errors import StoreError


def test_write_bytes_replaces_whole_files_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "state.json"
    disk.write_bytes(path, b"old")
    disk.write_bytes(path, b"new and longer")
    assert path.read_bytes() == b"new and longer"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_write_bytes_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "state.json"
    disk.write_bytes(path, b"old")

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="no space is left for"):
        disk.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_create_refuses_an_existing_file(tmp_path):
    disk.create(tmp_path / "a", b"1")
    with pytest.raises(StoreError, match="File exists"):
        disk.create(tmp_path / "a", b"2")


def test_create_goes_on_after_a_short_write(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    disk.create(tmp_path / "a", bytes(range(100)))
    monkeypatch.undo()
    assert (tmp_path / "a").read_bytes() == bytes(range(100))


def test_link_switches_and_survives_a_leftover(tmp_path):
    disk.link(tmp_path / "active", "one")
    (tmp_path / ".active.partial").symlink_to("leftover")
    disk.link(tmp_path / "active", "two")
    assert (tmp_path / "active").readlink().name == "two"
    assert [p.name for p in tmp_path.iterdir()] == ["active"]


def test_publish_gives_a_folder_its_final_name(tmp_path):
    partial = tmp_path / "run.partial"
    (partial / "deep").mkdir(parents=True)
    (partial / "deep" / "file").write_bytes(b"x")
    disk.publish(partial, tmp_path / "run")
    assert (tmp_path / "run" / "deep" / "file").read_bytes() == b"x"
    assert not partial.exists()


def test_remove_takes_links_but_not_what_they_point_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(b"x")
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "kept")
    disk.remove(tmp_path / "tree")
    disk.remove(tmp_path / "tree")
    assert (tmp_path / "kept" / "file").exists()
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize(
    ("number", "sentence", "remedy"),
    [
        (errno.ENOSPC, "no space is left for {}", "free some space, or use a smaller model"),
        (errno.EDQUOT, "the quota leaves no space for {}", "free some space, or use a smaller model"),
        (errno.EROFS, "{} lies on a read-only file system", "mount it writable, or choose another folder"),
        (errno.EACCES, "{} may not be written by this user", "choose a folder of your own, or use sudo"),
        (errno.EIO, "the disk failed while working on {}", "check the card; it may be worn out"),
        (errno.EMFILE, "{} cannot be changed: Too many open files", "choose another place"),
    ],
)
def test_each_refusal_is_one_sentence(tmp_path, monkeypatch, number, sentence, remedy):
    def refuse(name, path, action):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(disk, "_system_call", refuse)
    path = tmp_path / "a"
    with pytest.raises(StoreError) as caught:
        disk.create(path, b"x")
    assert (caught.value.what, caught.value.remedy) == (sentence.format(path), remedy)
