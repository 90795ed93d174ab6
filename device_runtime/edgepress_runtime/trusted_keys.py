"""The keys that a board trusts: ROOT/.trust/NAME.pub, PEM files. As soon as there is one, signatures are required.

Whoever may write the store may change them, so on a board that matters it belongs to root.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgepress_runtime import disk
from edgepress_runtime.errors import StoreError
from edgepress_runtime.trust import PublicKey, TrustError, pem, public_key

FOLDER = ".trust"
SUFFIX = ".pub"
_MAX_BYTES = 4096
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def read(root: Path) -> tuple[PublicKey, ...]:
    """The keys that the store `root` trusts, by name.

    Raises TrustError for one that cannot be read: a damaged key must not make a board trust everybody.
    """
    folder = root / FOLDER
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.suffix == SUFFIX and entry.name[0] != ".")
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise StoreError(f"{folder} cannot be read: {error.strerror or error}") from None
    return tuple(_read(file) for file in files)


def add(root: Path, file: Path, *, name: str = "") -> PublicKey:
    """Trust the key in the PEM file from now on. Raises TrustError, StoreError."""
    key = public_key(name or file.stem, _bytes(file))
    if not _NAME.fullmatch(key.name):
        raise TrustError(f"{key.name!r} cannot be a key's name", "use letters, digits, '.', '_' and '-': --name NAME")
    known = {other.name: other for other in read(root)}
    if key.name in known and known[key.name].raw != key.raw:
        raise TrustError(f"another key is already called {key.name}", "give it another name: --name NAME")
    disk.make_dir(root / FOLDER)
    disk.write_bytes(root / FOLDER / f"{key.name}{SUFFIX}", pem(key))
    return key


def remove(root: Path, name: str) -> PublicKey:
    """Trust the key `name` no longer. Raises TrustError for one that is not there."""
    found = {key.name: key for key in read(root)}
    if name not in found:
        known = ", ".join(found) or "none"
        raise TrustError(f"no key named {name!r} is trusted here", f"trusted: {known}")
    disk.remove(root / FOLDER / f"{name}{SUFFIX}")
    disk.sync_dir(root / FOLDER)
    return found[name]


def _read(file: Path) -> PublicKey:
    try:
        return public_key(file.stem, _bytes(file))
    except TrustError:
        raise TrustError(
            f"{file} is no key any more, so nothing can be trusted here", f"remove it, or put the key back: {file}"
        ) from None


def _bytes(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            return source.read(_MAX_BYTES)
    except FileNotFoundError:
        raise TrustError(f"{file} does not exist", "give the .pub file of a key") from None
    except OSError as error:
        raise TrustError(f"{file} cannot be read: {error.strerror or error}") from None
