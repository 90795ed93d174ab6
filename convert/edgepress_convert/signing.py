"""Keys that sign bundles: Ed25519 (RFC 8032), kept as PEM files that only their owner can read.

A key is NAME.pem (PKCS #8, private) and NAME.pub (what boards are given). The signature is over the exact bytes of
`manifest.json`, which pin every other byte of the bundle.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgepress_convert import bundle as packing
from edgepress_runtime import bundle as runtime_bundle
from edgepress_runtime import disk, trust
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.trust import PublicKey

PRIVATE, PUBLIC = ".pem", ".pub"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class KeyFiles:
    """A key pair on this machine; `id` is how signatures name it."""

    name: str
    id: str
    private: str
    public: str


def folder() -> Path:
    """Where keys are kept: `edgepress/keys` in the user's configuration ($XDG_CONFIG_HOME, else ~/.config)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edgepress" / "keys"


def new(name: str) -> KeyFiles:
    """Make the key `name`. Raises EdgepressError when there is one, since old bundles could never be signed again."""
    if not _NAME.fullmatch(name):
        raise EdgepressError(f"{name!r} cannot be a key's name", "use letters, digits, '.', '_' and '-', at most 64")
    home = folder()
    private, public = home / f"{name}{PRIVATE}", home / f"{name}{PUBLIC}"
    if os.path.lexists(private):
        raise EdgepressError(f"there is a key named {name} already, in {private}", "choose another name")
    disk.make_dir(home)
    home.chmod(0o700)
    key = Ed25519PrivateKey.generate()
    _create_private(private, _pem(key))
    disk.write_bytes(public, trust.pem(_public(name, key)))
    return _files(name, key, private)


def listed() -> tuple[KeyFiles, ...]:
    """The keys of this user, by name. Raises EdgepressError for one that cannot be read."""
    return tuple(_files(file.stem, _load(file), file) for file in sorted(folder().glob(f"*{PRIVATE}")))


def find(text: str) -> tuple[PublicKey, Ed25519PrivateKey]:
    """The key that `text` means: a name, or a PEM file. Raises EdgepressError."""
    named = folder() / f"{text}{PRIVATE}"
    file = named if _NAME.fullmatch(text) and named.is_file() else Path(text)
    if not file.is_file():
        known = ", ".join(path.stem for path in sorted(folder().glob(f"*{PRIVATE}")))
        raise EdgepressError(
            f"there is no key {text!r}", f"known keys: {known}" if known else f"edgepress keys new {named.stem}"
        )
    key = _load(file)
    return _public(file.stem, key), key


def sign(path: Path, key: str) -> PublicKey:
    """Sign the bundle at `path` with `key`, replacing any signature; its release keeps its identity.

    Raises EdgepressError; the file is then as it was.
    """
    opened = runtime_bundle.open_bundle(path)
    public, private = find(key)
    members = {name: bytes(data) for name, data in opened.members.items() if name != runtime_bundle.SIGNATURE}
    text = members.pop(runtime_bundle.MANIFEST)
    note = {
        "format": trust.FORMAT,
        "algorithm": trust.ALGORITHM,
        "key": public.id,
        "signature": base64.b64encode(private.sign(text)).decode("ascii"),
    }
    signature = json.dumps(note, sort_keys=True).encode() + b"\n"
    trust.judge(text, signature, opened.manifest.version, keys=(public,), floor=0)
    data = packing.archive({runtime_bundle.MANIFEST: text, runtime_bundle.SIGNATURE: signature, **members})
    disk.write_bytes(path, data)
    return public


def _load(file: Path) -> Ed25519PrivateKey:
    try:
        mode, data = file.stat().st_mode, file.read_bytes()
    except OSError as error:
        raise EdgepressError(f"the key {file} cannot be read: {error.strerror or error}") from None
    if os.name != "nt" and mode & _OTHERS:
        raise EdgepressError(f"others may read the private key {file}", f"chmod 600 {file}, or make a new one")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise EdgepressError(f"the key {file} is protected by a password", "openssl pkey -in IT -out ANOTHER") from None
    except ValueError:
        raise EdgepressError(f"{file} is no private key in PEM", "make one with: edgepress keys new NAME") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise EdgepressError(f"{file} is no Ed25519 key", "make one with: edgepress keys new NAME")
    return key


def _create_private(path: Path, data: bytes) -> None:
    """Like `disk.create`, but nobody else may ever read it, not even for an instant."""
    partial = path.with_name(f".{path.name}.partial")
    disk.remove(partial)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    disk.publish(partial, path)


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _public(name: str, key: Ed25519PrivateKey) -> PublicKey:
    return PublicKey(name, key.public_key().public_bytes_raw())


def _files(name: str, key: Ed25519PrivateKey, private: Path) -> KeyFiles:
    return KeyFiles(name, _public(name, key).id, str(private), str(private.with_suffix(PUBLIC)))
