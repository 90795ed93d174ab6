"""Install onto the image file of a card, without root and without a loop device: through e2fsprogs' own `debugfs`.

All work is done on a copy beside the image, which takes its name only after `e2fsck` found no fault in it.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from edgepress_runtime import disk
from edgepress_runtime.bundle import Bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.selftest import SelfTest
from edgepress_runtime.status import Installed
from edgepress_runtime.store import Store

SUFFIXES = (".img", ".raw", ".ext4")
_SECTOR = 512
_LINUX = 0x83
_EXT_MAGIC = (0x438, b"\x53\xef")  # where an ext file system says that it is one (Linux, fs/ext4/ext4.h)


def is_image(path: Path) -> bool:
    """Whether `path` looks like the image of a card."""
    return path.is_file() and path.suffix.lower() in SUFFIXES


def install(image: Path, bundle: Bundle, selftest: Callable[[Bundle], SelfTest], *, root: str) -> Installed:
    """Install `bundle` into the store `root` of the root file system in `image`. Raises EdgepressError.

    The image is then as it was; it is also left alone when it has that bundle already.
    """
    _tools()
    offset = root_offset(image)
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before", Path(folder) / "after"
        _read_store(image, offset, root, before)
        shutil.copytree(before, after, symlinks=True)
        done = Store(after).install(bundle, selftest)
        steps = list(_difference(before, after, PurePosixPath(root)))
        if done.changed:
            _write(image, offset, [*_folders(image, offset, root), *steps])
    return done


def root_offset(image: Path) -> int:
    """Where the last Linux partition of `image` begins, in bytes; 0 for a bare ext4 file system."""
    with image.open("rb") as file:
        head = file.read(_SECTOR)
        starts = [0]
        if head[510:] == b"\x55\xaa":
            entries = [struct.unpack_from("<4xB3xII", head, 446 + 16 * n) for n in range(4)]
            if any(kind == 0xEE for kind, _, _ in entries):
                raise EdgepressError(
                    f"{image} has a GPT, and a Raspberry Pi card an MBR", "mount it, and give its root"
                )
            starts = [first * _SECTOR for kind, first, _ in entries if kind == _LINUX] or [0]
        for start in reversed(starts):
            file.seek(start + _EXT_MAGIC[0])
            if file.read(2) == _EXT_MAGIC[1]:
                return start
    raise EdgepressError(f"{image} holds no ext4 file system", "give the image of a card with Raspberry Pi OS on it")


def _tools() -> None:
    missing = [name for name in ("debugfs", "e2fsck") if _program(name) is None]
    if missing:
        raise EdgepressError(f"images of cards need {' and '.join(missing)}", "apt install e2fsprogs")


def _program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def _debugfs(image: Path, offset: int, *commands: str, write: bool = False) -> tuple[str, str]:
    """What `debugfs` printed for `commands`, and what it complained of."""
    line = [str(_program("debugfs")), *(["-w"] if write else []), "-f", "-", f"{image}?offset={offset}"]
    text = "".join(f"{command}\n" for command in commands)
    done = subprocess.run(line, input=text, capture_output=True, text=True, check=False)
    complaints = [row for row in done.stderr.splitlines() if row.strip() and not row.startswith("debugfs 1.")]
    return done.stdout, "\n".join(complaints)


def _read_store(image: Path, offset: int, root: str, target: Path) -> None:
    """The store in the image as a folder; empty where there is none."""
    found, complaints = _debugfs(image, offset, 'stat "/etc"')
    if "Type: directory" not in found:
        raise EdgepressError(
            f"{image} holds no root file system: there is no /etc on it", complaints or "give the image of a whole card"
        )
    target.mkdir()
    found, _ = _debugfs(image, offset, f"stat {_quoted(root)}")
    if "Type: directory" not in found:
        return
    _, complaints = _debugfs(image, offset, f"rdump {_quoted(root)} {_quoted(str(target))}")
    inside = target / PurePosixPath(root).name
    troubles = [row for row in complaints.splitlines() if "changing ownership" not in row]
    if troubles or not inside.is_dir():
        raise EdgepressError(f"the store in {image} cannot be read: {troubles[:1]}", "check the card with e2fsck")
    for entry in inside.iterdir():
        entry.rename(target / entry.name)
    inside.rmdir()


def _folders(image: Path, offset: int, root: str) -> list[str]:
    """Commands that make `root` and what is missing above it."""
    made = []
    for path in [*reversed(PurePosixPath(root).parents), PurePosixPath(root)][1:]:
        found, _ = _debugfs(image, offset, f"stat {_quoted(str(path))}")
        if "Type: directory" not in found:
            made += _folder(path)
    return made


def _difference(before: Path, after: Path, root: PurePosixPath) -> Iterator[str]:
    """Commands that make of the tree `before` the tree `after`; what is new comes before what is old goes."""
    old, new = _tree(before), _tree(after)
    for name in sorted(new):
        path, kind = root / name, new[name]
        if old.get(name) == kind:
            continue
        if name in old:
            yield f"rm {_quoted(str(path))}"
        if kind == ("folder", b""):
            yield from _folder(path)
        elif kind[0] == "link":
            yield f"symlink {_quoted(str(path))} {_quoted(os.fsdecode(kind[1]))}"
        else:
            yield f"write {_quoted(str(after / name))} {_quoted(str(path))}"
            yield f"set_inode_field {_quoted(str(path))} mode 0100644"
    for name in sorted(set(old) - set(new), reverse=True):
        yield f"{'rmdir' if old[name][0] == 'folder' else 'rm'} {_quoted(str(root / name))}"


def _folder(path: PurePosixPath) -> list[str]:
    return [f"mkdir {_quoted(str(path))}", f"set_inode_field {_quoted(str(path))} mode 040755"]


def _tree(folder: Path) -> dict[str, tuple[str, bytes]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = ("link", os.fsencode(path.readlink()))
        elif path.is_dir():
            found[name] = ("folder", b"")
        else:
            found[name] = ("file", path.read_bytes())
    return found


def _write(image: Path, offset: int, commands: list[str]) -> None:
    copy = image.with_name(f".{image.name}.partial")
    disk.remove(copy)
    try:
        # Cards are mostly empty: holes stay holes, and a file system that can share blocks copies none
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(image), str(copy)], check=True)
        _, complaints = _debugfs(copy, offset, *commands, write=True)
        if complaints:
            raise _refused(image, complaints.splitlines()[0])
        checked = subprocess.run(
            [str(_program("e2fsck")), "-f", "-n", f"{copy}?offset={offset}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if checked.returncode:
            raise _refused(image, "e2fsck found a fault in the result")
        shutil.copystat(image, copy)
        disk.publish(copy, image)
    except (OSError, subprocess.CalledProcessError) as error:
        raise _refused(image, str(error)) from None
    finally:
        disk.remove(copy)


def _refused(image: Path, why: str) -> EdgepressError:
    full = "no space" in why.lower() or "could not allocate" in why.lower()
    return EdgepressError(
        f"{image} could not be changed and is as it was: {why}", "make its file system larger" if full else "run e2fsck"
    )


def _quoted(text: str) -> str:
    """`text` as one word for debugfs, which knows no escapes within its quotes."""
    if '"' in text or "\n" in text:
        raise EdgepressError(f"{text!r} cannot be written onto a card", "use a path without quotes and line breaks")
    return f'"{text}"'
