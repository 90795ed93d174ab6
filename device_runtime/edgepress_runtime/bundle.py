"""Bundles: `X.edge` files and installed releases, opened only after everything in them was verified.

A bundle is `manifest.json`, the members that it lists with their SHA-256 (always `model.tflite`, `labels.txt` and
`golden.npz`), and perhaps `manifest.sig`. Its identity (`digest`) is the SHA-256 of the exact bytes of the manifest,
which pins all the rest.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgepress_runtime import archive, manifest
from edgepress_runtime.errors import BundleError
from edgepress_runtime.manifest import Manifest, TextSpec

if TYPE_CHECKING:
    from edgepress_runtime.golden import Golden
    from edgepress_runtime.head import Head
    from edgepress_runtime.text import Tokenizer

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
MODEL = "model.tflite"
LABELS = "labels.txt"
GOLDEN = "golden.npz"
REQUIRED = (MODEL, LABELS, GOLDEN)
MAX_BYTES = 512 * 1024 * 1024
MAX_MANIFEST_BYTES = 1024 * 1024
MAX_SIGNATURE_BYTES = 4096


@dataclass(frozen=True)
class Bundle:
    """One verified bundle. `members` are read-only views of the file; `digest` is its identity (hex SHA-256).

    `head` is the last layer in numpy where classes were taught on this board, which the manifest's labels then include.
    """

    path: Path
    manifest: Manifest
    digest: str
    signature: bytes | None
    members: Mapping[str, memoryview] = field(repr=False)
    head: Head | None = field(default=None, repr=False)

    @property
    def model(self) -> memoryview:
        """The bytes of `model.tflite`."""
        return self.members[MODEL]

    @property
    def model_source(self) -> Path | memoryview:
        """What an engine should load: the file, which it can map, for a release; the bytes for an `X.edge`."""
        return self.path / MODEL if self.path.is_dir() else self.model

    def golden(self) -> Golden:
        """The golden cases: inputs and the exact outputs that this model must give for them."""
        from edgepress_runtime import golden

        return golden.read(self.members[GOLDEN], self.manifest)

    def tokenizer(self) -> Tokenizer:
        """What turns texts into ids, with the bundle's own vocabulary. Raises BundleError without one."""
        from edgepress_runtime import text

        spec = self.manifest.preprocessing
        if not isinstance(spec, TextSpec) or text.VOCABULARY not in self.members:
            raise BundleError(f"{self.path.name} lacks {text.VOCABULARY}, the pieces of its texts", "copy it again")
        return text.Tokenizer(spec, bytes(self.members[text.VOCABULARY]))


def open_bundle(path: str | os.PathLike[str]) -> Bundle:
    """The bundle in an `X.edge` file or in the folder of an installed release.

    Raises BundleError, in one sentence, for a file that is truncated, altered, too new, or not a bundle.
    """
    where = Path(path)
    try:
        members = _folder(where) if where.is_dir() else archive.read_members(_map(where), where.name)
    except FileNotFoundError:
        raise BundleError(f"{where} does not exist", "check the path") from None
    except OSError as error:
        raise BundleError(f"{where} cannot be read: {error.strerror or error}") from None
    return _verify(where, members)


def is_bundle(text: str | os.PathLike[str]) -> bool:
    """Whether `text` means a bundle by its looks: a path that ends in `.edge`, or a release folder."""
    path = Path(text)
    return path.suffix == ".edge" or (path / MANIFEST).is_file()


def _verify(path: Path, members: dict[str, memoryview]) -> Bundle:
    name = path.name
    if MANIFEST not in members:
        raise BundleError(f"{name} holds no {MANIFEST}, so it is not an edgepress bundle")
    for member, limit in ((MANIFEST, MAX_MANIFEST_BYTES), (SIGNATURE, MAX_SIGNATURE_BYTES)):
        if len(members.get(member, b"")) > limit:
            raise BundleError(f"{member} in {name} is larger than {limit} bytes")
    text = bytes(members[MANIFEST])
    facts = manifest.load(text)
    listed = set(facts.members)
    for member in sorted({MANIFEST, SIGNATURE} & listed):
        raise BundleError(f"the manifest of {name} lists {member}, which cannot hold its own checksum")
    for member in sorted({*REQUIRED, *listed} - members.keys()):
        raise BundleError(f"{name} lacks {member}", "copy it again")
    for member in sorted(({*members} - listed - {MANIFEST, SIGNATURE}) | ({*REQUIRED} - listed)):
        raise BundleError(f"{name} holds {member}, which its manifest does not list")
    for member, expected in facts.members.items():
        if hashlib.sha256(members[member]).hexdigest() != expected:
            raise BundleError(f"{member} in {name} does not match its checksum", "copy the bundle again")
    if bytes(members[LABELS]) != "".join(f"{label}\n" for label in facts.labels).encode("utf-8"):
        raise BundleError(f"{LABELS} in {name} differs from the labels in its manifest", "make the bundle again")
    signature = bytes(members[SIGNATURE]) if SIGNATURE in members else None
    bundle = Bundle(path, facts, hashlib.sha256(text).hexdigest(), signature, members)
    bundle.golden()  # a release whose cases cannot be read could never be tested
    if isinstance(facts.preprocessing, TextSpec):
        bundle.tokenizer()
    return bundle


def _folder(folder: Path) -> dict[str, memoryview]:
    """The members of a release folder: regular files only, followed nowhere."""
    if not os.path.lexists(folder / MANIFEST):
        raise BundleError(f"{folder} is a folder, not an edgepress bundle", "give an X.edge file")
    members: dict[str, memoryview] = {}
    total = 0
    for entry in sorted(os.scandir(folder), key=lambda e: e.name):
        if not entry.is_file(follow_symlinks=False):
            raise BundleError(f"{folder.name} holds {entry.name!r}, which is not a plain file")
        members[entry.name] = _map(Path(entry.path))
        total += len(members[entry.name])
        if len(members) > archive.MAX_MEMBERS or total > MAX_BYTES:
            raise BundleError(f"{folder.name} is not an edgepress release")
    return members


def _map(path: Path) -> memoryview:
    """A regular file as a read-only view of the page cache."""
    # O_NONBLOCK: a named pipe in place of the file must be refused, not waited for.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise BundleError(f"{path.name} is not a plain file", "give an X.edge file")
        if facts.st_size > MAX_BYTES:
            raise BundleError(f"{path.name} is larger than {MAX_BYTES // 1024**2} MB, the most a bundle may have")
        if facts.st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)
