"""Keys and signatures of the host, judged by the board's own code and by OpenSSL."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from edgepress_convert import signing
from edgepress_runtime import trust, trusted_keys
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import EdgepressError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config" / "edgepress" / "keys"


@pytest.fixture
def bundle(bundle_file, tmp_path):
    return Path(shutil.copy(bundle_file, tmp_path / "x.edge"))


def test_a_new_key_is_private(home):
    key = signing.new("workshop")
    assert stat.S_IMODE(Path(key.private).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert signing.listed() == (key,)
    assert b"PRIVATE" not in Path(key.public).read_bytes()
    with pytest.raises(EdgepressError, match="there is a key named workshop already"):
        signing.new("workshop")


def test_a_signed_bundle_keeps_its_identity_and_convinces_a_board(bundle, tmp_path):
    key = signing.new("workshop")
    before = open_bundle(bundle)
    assert before.signature is None
    signing.sign(bundle, "workshop")
    after = open_bundle(bundle)
    assert (after.digest, after.manifest) == (before.digest, before.manifest)
    trusted_keys.add(tmp_path / "store", Path(key.public))
    keys = trusted_keys.read(tmp_path / "store")
    text = bytes(after.members["manifest.json"])
    assert trust.judge(text, after.signature, after.manifest.version, keys=keys, floor=0).name == "workshop"
    assert [path.name for path in bundle.parent.glob("*.edge*")] == ["x.edge"]


def test_signing_again_replaces_the_signature(bundle):
    first, second = signing.new("first"), signing.new("second")
    signing.sign(bundle, "first")
    assert trust.parse(open_bundle(bundle).signature).key == first.id
    signing.sign(bundle, second.private)
    assert trust.parse(open_bundle(bundle).signature).key == second.id


@pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL is not installed")
def test_a_key_of_openssl_signs_too(bundle, tmp_path):
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", str(tmp_path / "theirs.pem")], check=True)
    (tmp_path / "theirs.pem").chmod(0o600)
    subprocess.run(
        ["openssl", "pkey", "-in", str(tmp_path / "theirs.pem"), "-pubout", "-out", str(tmp_path / "theirs.pub")],
        check=True,
    )
    signer = signing.sign(bundle, str(tmp_path / "theirs.pem"))
    assert trust.public_key("theirs", (tmp_path / "theirs.pub").read_bytes()) == signer


@pytest.mark.parametrize(
    ("name", "sentence"),
    [("../x", "cannot be a key's name"), ("", "cannot be a key's name"), ("a" * 65, "cannot be a key's name")],
)
def test_names_that_no_key_can_have(name, sentence):
    with pytest.raises(EdgepressError, match=sentence):
        signing.new(name)


def test_bad_keys_are_told(bundle, tmp_path):
    before = bundle.read_bytes()
    with pytest.raises(EdgepressError, match="there is no key 'nobody'") as caught:
        signing.sign(bundle, "nobody")
    assert caught.value.remedy == "edgepress keys new nobody"
    file = tmp_path / "k.pem"
    file.write_bytes(b"no key")
    file.chmod(0o600)
    with pytest.raises(EdgepressError, match="is no private key in PEM"):
        signing.sign(bundle, str(file))
    key = signing.new("open")
    os.chmod(key.private, 0o644)  # noqa: PTH101
    with pytest.raises(EdgepressError, match="others may read the private key"):
        signing.sign(bundle, "open")
    assert bundle.read_bytes() == before
