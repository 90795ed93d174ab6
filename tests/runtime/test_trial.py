"""Trials of new releases: what a board runs after restarts and power cuts, and which versions it then takes."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.runtime.test_store import Disk, PowerCut, exact, install, tree

from edgepress_runtime import trial, trusted_keys
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import StoreError
from edgepress_runtime.store import Store
from edgepress_runtime.targets import start_target
from edgepress_runtime.trust import PublicKey, TrustError, key_id, pem


@pytest.fixture
def bundles(make_bundle):
    return [open_bundle(make_bundle(file=f"{n}.edge", seed=n, version=10 + n)) for n in range(3)]


@pytest.fixture
def store(tmp_path, bundles):
    """One confirmed release, and another on trial."""
    made = Store(tmp_path / "store")
    made.install(bundles[0], exact)
    made.confirm(bundles[0])
    made.install(bundles[1], exact)
    return made


def running(store):
    return store.open("pets").manifest.version


def test_a_release_that_is_never_confirmed_is_left_after_three_starts(store, bundles):
    for number in range(3):
        started = store.start("pets")
        assert (started.bundle.digest, started.confirmed, started.went_back) == (bundles[1].digest, False, None)
        assert store.list()[0].starts == number + 1
    back = store.start("pets")
    assert (back.bundle.digest, back.confirmed, back.went_back) == (bundles[0].digest, True, bundles[1].digest)
    assert bundles[1].digest[:12] in back.note and bundles[0].digest[:12] in back.note
    again = store.start("pets")
    assert (again.bundle.digest, again.went_back, again.note) == (bundles[0].digest, None, "")
    assert not store.rollback("pets", exact).changed  # there is nothing to go back from any more


def test_a_confirmed_release_stays_however_often_it_starts(store, bundles):
    store.start("pets")
    store.confirm(bundles[1])
    for _ in range(5):
        assert store.start("pets").confirmed
    assert running(store) == 11


def test_the_first_release_has_nothing_to_go_back_to_and_stays(tmp_path, bundles):
    store = Store(tmp_path)
    store.install(bundles[0], exact)
    for _ in range(5):
        assert store.start("pets").bundle.digest == bundles[0].digest


def test_installing_it_again_does_not_begin_its_trial_anew(store, bundles):
    for _ in range(3):
        store.start("pets")
    assert not store.install(bundles[1], exact).changed
    assert store.start("pets").went_back == bundles[1].digest


def test_what_was_rolled_back_to_is_not_on_trial(store):
    store.rollback("pets", exact)
    assert store.start("pets").confirmed


def test_a_confirmation_that_comes_too_late_changes_nothing(store, bundles):
    store.install(bundles[2], exact)
    before = tree(store.root)
    store.confirm(bundles[1])
    assert tree(store.root) == before


def test_an_app_that_may_not_write_runs_what_is_there(store, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)
    before = tree(store.root)
    assert store.start("pets").bundle.manifest.version == 11
    assert tree(store.root) == before


def test_a_file_is_never_on_trial(tmp_path, make_bundle):
    path = make_bundle()
    started, confirm = start_target(str(path), tmp_path / "nowhere")
    confirm()
    assert started.confirmed and started.bundle.path == path
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("damage", [b"", b"{}", b"[]", b'{"format": 1, "starts": "2", "confirmed": false}', None])
def test_a_damaged_trial_begins_anew(store, damage):
    store.start("pets")
    note = store.root / "pets" / "active" / "trial.json"
    note.unlink() if damage is None else note.write_bytes(damage)
    assert not store.start("pets").confirmed
    assert json.loads(note.read_bytes())["starts"] == 1


def counted(root, bundles):
    Store(root).start("pets")


def confirmed(root, bundles):
    Store(root).confirm(bundles[1])


@pytest.mark.parametrize("starts", [0, 3])
@pytest.mark.parametrize("world", ["all synced", "unsynced lost"])
@pytest.mark.parametrize("command", [counted, confirmed])
def test_power_cut_at_every_call(store, bundles, tmp_path, monkeypatch, command, world, starts):
    for _ in range(starts):
        store.start("pets")
    whole = shutil.copytree(store.root, tmp_path / "whole", symlinks=True)
    with monkeypatch.context() as patch:
        calls = Disk(patch)
        command(whole, bundles)
    assert len(calls.calls) >= 6
    for k in range(len(calls.calls)):
        root = shutil.copytree(store.root, tmp_path / "cut", symlinks=True)
        with monkeypatch.context() as patch:
            cut = Disk(patch, cut=k)
            with pytest.raises(PowerCut):
                command(root, bundles)
        if world == "unsynced lost":
            cut.lose_unsynced()
        after = Store(root)
        assert running(after) in (10, 11)
        assert after.list()[0].problem is None
        assert trial.floor(root / "pets") in (10, 11)
        command(root, bundles)
        if command is confirmed:
            assert tree(root) == tree(whole)
        elif starts:
            assert running(after) == 10
        shutil.rmtree(root)


# The floor, with keys


@pytest.fixture
def private():
    return Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@pytest.fixture
def signed(build, tmp_path, private):
    """A function that gives a signed bundle of a version."""
    raw = private.public_key().public_bytes_raw()

    def make(version):
        members = build.members_of("int8", seed=version, version=version)
        value = {"format": 1, "algorithm": "ed25519", "key": key_id(raw)}
        value["signature"] = base64.b64encode(private.sign(members["manifest.json"])).decode()
        path = tmp_path / f"v{version}.edge"
        path.write_bytes(build.zipped({**members, "manifest.sig": json.dumps(value).encode()}))
        return open_bundle(path)

    return make


@pytest.fixture
def guarded(tmp_path, private):
    """A store that trusts one key."""
    store = Store(tmp_path / "guarded")
    file = tmp_path / "shop.pub"
    file.write_bytes(pem(PublicKey("", private.public_key().public_bytes_raw())))
    trusted_keys.add(store.root, file)
    return store


def test_only_signed_bundles_get_in(guarded, signed, bundles):
    with pytest.raises(TrustError, match="is not signed, and this board takes only what is signed by shop"):
        install(guarded.root, bundles[0])
    assert guarded.names() == ()
    assert install(guarded.root, signed(5)).changed


def test_an_older_version_gets_in_until_a_newer_one_proved_itself(guarded, signed):
    old, new = signed(5), signed(6)
    guarded.install(new, exact)
    assert guarded.install(old, exact).changed  # nobody has seen version 6 work
    guarded.install(new, exact)
    guarded.confirm(new)
    with pytest.raises(TrustError, match="has version 5, but 6 has already run here"):
        guarded.install(old, exact)
    assert guarded.rollback("pets", exact).installed == old.digest  # a rollback is no replay


def test_a_damaged_floor_lets_nothing_in(guarded, signed):
    guarded.install(signed(5), exact)
    guarded.confirm(guarded.open("pets"))
    (guarded.root / "pets" / "floor.json").write_bytes(b"{")
    with pytest.raises(StoreError, match="no version can be checked"):
        guarded.install(signed(7), exact)


def test_a_damaged_key_lets_nothing_in(guarded, signed):
    (guarded.root / ".trust" / "shop.pub").write_bytes(b"")
    with pytest.raises(TrustError, match=r"shop\.pub is no key any more"):
        guarded.install(signed(5), exact)


def test_keys_are_added_listed_and_removed(guarded, tmp_path):
    (key,) = trusted_keys.read(guarded.root)
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    (tmp_path / "other.pub").write_bytes(pem(PublicKey("", other)))
    assert trusted_keys.add(guarded.root, tmp_path / "other.pub", name="lab").raw == other
    assert [k.name for k in trusted_keys.read(guarded.root)] == ["lab", "shop"]
    with pytest.raises(TrustError, match="another key is already called shop"):
        trusted_keys.add(guarded.root, tmp_path / "other.pub", name="shop")
    assert trusted_keys.remove(guarded.root, "shop") == key
    with pytest.raises(TrustError, match="no key named 'shop' is trusted here"):
        trusted_keys.remove(guarded.root, "shop")
    for name in ("../x", ".hidden", ""):
        expected = "other" if not name else None
        if expected:
            assert trusted_keys.add(guarded.root, tmp_path / "other.pub", name=name).name == expected
        else:
            with pytest.raises(TrustError, match="cannot be a key's name"):
                trusted_keys.add(guarded.root, tmp_path / "other.pub", name=name)
    with pytest.raises(TrustError, match="does not exist"):
        trusted_keys.add(guarded.root, Path("nowhere.pub"))
