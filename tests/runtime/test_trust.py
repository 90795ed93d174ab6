"""Trust: every attack by its name, signatures against RFC 8032's own vectors and OpenSSL's."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgepress_runtime import trust
from edgepress_runtime.trust import PublicKey, TrustError

TEXT = b'{"name": "pets"}\n'
# RFC 8032, section 7.1: (public key, message, signature)
VECTORS = (
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def private():
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture(scope="module")
def key(private):
    return PublicKey("shop", private.public_key().public_bytes_raw())


def signed(private, text=TEXT, **changes):
    raw = private.public_key().public_bytes_raw()
    value = {"format": 1, "algorithm": "ed25519", "key": trust.key_id(raw)}
    value["signature"] = base64.b64encode(private.sign(text)).decode()
    return json.dumps({**value, **changes}).encode()


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_signatures_of_the_specification(public, message, signature):
    public, message, signature = (bytes.fromhex(text) for text in (public, message, signature))
    assert trust.ed25519(public, signature, message)
    assert not trust.ed25519(public, signature, message + b"x")
    assert not trust.ed25519(public, signature[:-1] + bytes([signature[-1] ^ 1]), message)


@pytest.mark.parametrize("signature", [None, b"rubbish"])
def test_a_board_that_trusts_nobody_takes_anything(signature):
    assert trust.judge(TEXT, signature, 1, keys=(), floor=10) is None


def test_a_signed_bundle_is_taken_and_tells_whose_it_is(private, key):
    other = PublicKey("other", bytes(32))
    assert trust.judge(TEXT, signed(private), 5, keys=(other, key), floor=5) == key


ATTACKS = {
    "unsigned": (lambda p: None, 5, "the bundle is not signed"),
    "signed by a stranger": (
        lambda p: signed(Ed25519PrivateKey.from_private_bytes(bytes(32))), 5, "which this board does not trust"
    ),
    "a stranger's signature under a trusted key's name": (
        lambda p: signed(
            Ed25519PrivateKey.from_private_bytes(bytes(32)), key=trust.key_id(p.public_key().public_bytes_raw())
        ), 5, "the signature is not shop's",
    ),
    "signature of another manifest": (lambda p: signed(p, TEXT.replace(b"pets", b"cats")), 5, "is not shop's"),
    "replayed older version": (lambda p: signed(p), 4, "has version 4, but 5 has already run here"),
    "no JSON": (lambda p: b"\x00" * 64, 5, "manifest.sig cannot be read"),
    "empty": (lambda p: b"", 5, "manifest.sig cannot be read"),
    "a list": (lambda p: b"[]", 5, "does not hold an object"),
    "a key more": (lambda p: signed(p, extra=1), 5, "other keys than a signature"),
    "another algorithm": (lambda p: signed(p, algorithm="none"), 5, "'none' of format 1"),
    "a newer format": (lambda p: signed(p, format=2), 5, "of format 2"),
    "no base64": (lambda p: signed(p, signature="%%%%"), 5, "no base64"),
    "a short signature": (lambda p: signed(p, signature="AAAA"), 5, "3 bytes long, not 64"),
    "a signature that is a number": (lambda p: signed(p, signature=7), 5, "should be str"),
    "a signature of nothing": (
        lambda p: signed(p, signature=base64.b64encode(bytes(64)).decode()), 5, "is not shop's"
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(private, key, attack):
    make, version, sentence = ATTACKS[attack]
    with pytest.raises(trust.BundleError) as refused:
        trust.judge(TEXT, make(private), version, keys=(key,), floor=5)
    assert sentence in refused.value.what


def test_without_the_library_nothing_is_trusted(private, key, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(TrustError, match="cannot check signatures"):
        trust.judge(TEXT, signed(private), 1, keys=(key,), floor=0)


def test_keys_in_pem_are_those_of_the_library(private, key):
    public = private.public_key()
    theirs = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert trust.public_key("shop", theirs) == key
    assert trust.pem(key) == theirs


@pytest.mark.parametrize(
    "data", [b"", b"ssh-ed25519 AAAA", b"-----BEGIN PUBLIC KEY-----\n!!\n-----END PUBLIC KEY-----\n", b"\xff\xfe"]
)
def test_what_is_no_key_is_told(data):
    with pytest.raises(TrustError, match="is no public key in PEM"):
        trust.public_key("x", data)


def test_keys_of_other_kinds_are_told():
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    other = X25519PrivateKey.generate().public_key()
    text = other.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(TrustError, match="not an Ed25519 one"):
        trust.public_key("x", text)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL is not installed")
def test_openssl_agrees(private, key, tmp_path):
    """What a stranger needs to check a bundle: the manifest, the signature's 64 bytes and the .pub file."""
    (tmp_path / "key.pub").write_bytes(trust.pem(key))
    (tmp_path / "manifest.json").write_bytes(TEXT)
    (tmp_path / "raw").write_bytes(trust.parse(signed(private)).raw)
    line = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", "key.pub", "-rawin", "-in", "manifest.json"]
    done = subprocess.run([*line, "-sigfile", "raw"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (tmp_path / "manifest.json").write_bytes(TEXT + b" ")
    done = subprocess.run([*line, "-sigfile", "raw"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
