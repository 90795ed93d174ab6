"""May this bundle be installed? A verdict on signatures and versions; nothing here touches a disk or a network.

A board that trusts at least one key takes only bundles whose manifest one of them signed (Ed25519, RFC 8032), and no
version below the last one that proved itself there: an old, signed bundle with a known fault stays out. The manifest
pins every other byte of its bundle, so its signature covers all of them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Callable

from edgepress_runtime import strict_json
from edgepress_runtime.errors import BundleError

ALGORITHM = "ed25519"
FORMAT = 1
PUBLIC_BYTES, SIGNATURE_BYTES = 32, 64
_PEM_BEGIN, _PEM_END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"
_DER = bytes.fromhex("302a300506032b6570032100")  # what stands before the 32 bytes of every such key (RFC 8410)

# (public key (32,), signature (64,), message) -> whether the signature is that key's over the message
Verify = Callable[[bytes, bytes, bytes], bool]


class TrustError(BundleError):
    """A bundle that this board does not trust. Nothing was changed."""


@dataclass(frozen=True)
class PublicKey:
    """One Ed25519 key, 32 bytes, and what people call it."""

    name: str
    raw: bytes

    @property
    def id(self) -> str:
        """The first 16 hex digits of its SHA-256."""
        return key_id(self.raw)


@dataclass(frozen=True)
class Signature:
    """What `manifest.sig` holds: whose it is (`key`, an id) and its 64 bytes."""

    key: str
    raw: bytes


def key_id(raw: bytes) -> str:
    """How signatures name the key with the public bytes `raw`."""
    return hashlib.sha256(raw).hexdigest()[:16]


def judge(
    text: bytes,
    signature: bytes | None,
    version: int,
    *,
    keys: Sequence[PublicKey],
    floor: int,
    verify: Verify | None = None,
) -> PublicKey | None:
    """The key that signed the manifest with the bytes `text`; None on a board that trusts no keys and takes anything.

    `signature` is `manifest.sig`; `version` is the manifest's, `floor` the lowest that is still taken. Raises
    TrustError.
    """
    if not keys:
        return None
    known = ", ".join(key.name for key in keys)
    if signature is None:
        raise TrustError(
            f"the bundle is not signed, and this board takes only what is signed by {known}",
            "edgepress flash --sign KEY",
        )
    found = parse(signature)
    signer = next((key for key in keys if key.id == found.key), None)
    if signer is None:
        raise TrustError(
            f"the bundle is signed with the key {found.key}, which this board does not trust; it trusts {known}",
            "sign it with one of those, or have the key added by whoever owns the board",
        )
    if not (verify or ed25519)(signer.raw, found.raw, text):
        raise TrustError(
            f"the signature is not {signer.name}'s: the bundle was altered after it was signed", "copy it again"
        )
    if version < floor:
        raise TrustError(
            f"the bundle has version {version}, but {floor} has already run here: an older one is not taken",
            "convert the model again, or go back with: edgepress-device rollback",
        )
    return signer


def parse(data: bytes) -> Signature:
    """What `manifest.sig` says. Raises TrustError for anything that is not a signature of this format."""
    try:
        value = strict_json.read_object(data, "manifest.sig")
        if value.keys() != {"format", "algorithm", "key", "signature"}:
            raise TrustError("manifest.sig has other keys than a signature", "sign the bundle again")
        if value["format"] != FORMAT or value["algorithm"] != ALGORITHM:
            raise TrustError(
                f"the signature is {value['algorithm']!r} of format {value['format']!r}, which is unknown here",
                "update edgepress-runtime on this board",
            )
        raw = base64.b64decode(strict_json.member(str, value, "signature"), validate=True)
        key = strict_json.member(str, value, "key")
    except (binascii.Error, ValueError):
        raise TrustError("the signature in manifest.sig is no base64", "sign the bundle again") from None
    if len(raw) != SIGNATURE_BYTES:
        raise TrustError(f"the signature is {len(raw)} bytes long, not {SIGNATURE_BYTES}", "sign the bundle again")
    return Signature(key, raw)


def public_key(name: str, pem: bytes) -> PublicKey:
    """The key in a PEM file as OpenSSL writes it (`openssl pkey -pubout`). Raises TrustError for any other."""
    try:
        lines = [line.strip() for line in pem.decode("ascii").strip().splitlines()]
        if not lines or lines[0] != _PEM_BEGIN or lines[-1] != _PEM_END:
            raise ValueError
        der = base64.b64decode("".join(lines[1:-1]), validate=True)
    except (ValueError, binascii.Error):
        raise TrustError(f"{name} is no public key in PEM", "make one with: edgepress keys new NAME") from None
    if der[: len(_DER)] != _DER or len(der) != len(_DER) + PUBLIC_BYTES:
        raise TrustError(f"{name} is a public key, but not an Ed25519 one", "make one with: edgepress keys new NAME")
    return PublicKey(name, der[len(_DER) :])


def pem(key: PublicKey) -> bytes:
    """`key` as `public_key` reads it."""
    body = base64.b64encode(_DER + key.raw).decode("ascii")
    return f"{_PEM_BEGIN}\n{body}\n{_PEM_END}\n".encode("ascii")


def ed25519(public: bytes, signature: bytes, message: bytes) -> bool:
    """Verify by the package `cryptography`. Raises TrustError where it is missing: unchecked is not trusted."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise TrustError(
            "this board takes only signed bundles, but cannot check signatures", "pip install 'edgepress-runtime[sign]'"
        ) from None
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
