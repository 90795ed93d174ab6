"""The runtime for boards: which wheels, how it is packed, and a whole one put on a board that has only Python."""

from __future__ import annotations

import json
import subprocess
import tarfile

import pytest

from edgepress_convert import board, provision, wheels
from edgepress_runtime.doctor.wheels import Platform
from edgepress_runtime.errors import EdgepressError

PI5 = Platform("aarch64", 64, (3, 13), "glibc", (2, 41))
PI3_32 = Platform("aarch64", 32, (3, 11), "glibc", (2, 36))  # 32-bit programs below a 64-bit kernel


def test_tags_are_those_that_pip_takes_for_such_a_system():
    from packaging.tags import _manylinux  # the rule by which pip itself chooses

    assert wheels.platform_tags(PI5)[:2] == ("manylinux_2_35_aarch64", "manylinux_2_34_aarch64")
    assert wheels.platform_tags(PI5)[-2:] == ("manylinux_2_17_aarch64", "manylinux2014_aarch64")
    assert wheels.platform_tags(PI3_32)[0] == "manylinux_2_35_armv7l"
    old = wheels.platform_tags(Platform("x86_64", 64, (3, 10), "glibc", (2, 27)))
    assert old == ("manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
    assert _manylinux._LEGACY_MANYLINUX_MAP[(2, 17)] == "manylinux2014"


def test_requirements():
    assert "ai-edge-litert" in wheels.requirements(PI5)
    assert wheels.requirements(PI3_32) == ("tflite-runtime==2.14.0",)  # NumPy comes from the system there
    with pytest.raises(EdgepressError, match=r"there is no engine for 32-bit Python 3\.13"):
        wheels.requirements(Platform("armv7l", 32, (3, 13), "glibc", (2, 41)))
    assert wheels.missing_from_system(PI3_32, ["numpy", "PIL"]) == "python3-numpy python3-pil"
    assert wheels.missing_from_system(PI5, ["numpy", "PIL"]) == ""


@pytest.fixture
def plain_archive(tmp_path, monkeypatch):
    """An archive without wheels, which are the environment's own here."""
    monkeypatch.setattr(wheels, "_unpack", lambda board, target: target.mkdir(parents=True))
    return wheels.runtime_archive(PI5, tmp_path / "runtime.tar.gz")


def test_the_archive_runs_and_is_the_same_each_time(plain_archive, tmp_path, monkeypatch):
    again = wheels.runtime_archive(PI5, tmp_path / "again.tar.gz")
    assert again.read_bytes() == plain_archive.read_bytes()
    with tarfile.open(plain_archive) as archive:
        assert not any("__pycache__" in name for name in archive.getnames())
        archive.extractall(tmp_path / "board", filter="data")
    for program in wheels.PROGRAMS:
        path = tmp_path / "board" / "bin" / program
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0 and done.stdout.startswith("edgepress"), done.stderr


def test_a_wheel_that_cannot_be_had_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(EdgepressError, match=r"the wheels for aarch64 with Python 3\.13 cannot be had") as caught:
        wheels.runtime_archive(PI5, tmp_path / "runtime.tar.gz")
    assert str(wheels.cache()) in caught.value.remedy
    assert not (tmp_path / "runtime.tar.gz").exists()


def test_a_board_is_given_the_runtime(host, plain_archive, tmp_path):
    prefix = tmp_path / "local"
    digest = provision.install(host, prefix=str(prefix))
    program = prefix / "bin" / "edgepress-device"
    home = prefix / "share" / "edgepress" / "runtime"
    assert program.is_symlink()
    assert sorted(p.name for p in home.iterdir()) == sorted([digest, "current"])
    told = board.run(host, [str(program), "list", "--root", str(tmp_path / "none"), "--json"])
    assert json.loads(told)["models"] == []
    (home / "old").mkdir()
    assert provision.install(host, prefix=str(prefix)) == digest  # again: the same, and what is old is gone
    assert sorted(p.name for p in home.iterdir()) == sorted([digest, "current"])


def test_what_a_board_is(host):
    found = provision.platform_of(host)
    assert (found.bits, found.libc) == (64, "glibc")
    assert found.libc_version >= (2, 17)


def test_whether_a_board_has_it(host):
    assert provision.present(host)


@pytest.mark.slow
@pytest.mark.parametrize("platform", [PI5, PI3_32, Platform("aarch64", 64, (3, 11), "glibc", (2, 36))])
def test_real_wheels_for_real_boards(platform, tmp_path, monkeypatch):
    """From the package index, then once more without it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = wheels.runtime_archive(platform, tmp_path / "first.tar.gz")
    with tarfile.open(first) as archive:
        names = archive.getnames()
    engine = "tflite_runtime" if platform.bits == 32 else "ai_edge_litert"
    machine = "arm-linux-gnueabihf" if platform.bits == 32 else "aarch64-linux-gnu"
    assert any(name.startswith(f"lib/{engine}/") for name in names)
    assert any(name.endswith(".so") and (machine in name or platform.bits == 32) for name in names)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_RETRIES", "0")
    again = wheels.runtime_archive(platform, tmp_path / "again.tar.gz")
    assert again.read_bytes() == first.read_bytes()
