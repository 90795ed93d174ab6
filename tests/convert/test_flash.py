"""Flashing: onto folders, and over SSH to a real sshd; copies that go on, refusals, fleets with dead boards."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgepress_convert import board, fleet, signing
from edgepress_convert.flash import flash
from edgepress_convert.fleet import Device, flash_all, plan, read
from edgepress_runtime import trusted_keys
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.store import Store


@pytest.fixture(autouse=True)
def keys(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
def name(bundle_file):
    return open_bundle(bundle_file).manifest.name


@pytest.fixture
def card(tmp_path):
    """The mounted root of a card."""
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    return root


def test_a_card_gets_its_store(bundle_file, card, name):
    done = flash(bundle_file, str(card))
    assert (done.name, done.previous, done.tested_on, done.changed) == (name, None, "this machine", True)
    store = Store(card / "var" / "lib" / "edgepress")
    assert store.open(name).digest == done.installed
    assert not flash(bundle_file, str(card)).changed
    assert flash(bundle_file, str(card), root="/srv/models").changed
    assert Store(card / "srv" / "models").names() == (name,)


def test_a_folder_may_be_a_store(bundle_file, tmp_path, name):
    (tmp_path / "store").mkdir()
    flash(bundle_file, str(tmp_path / "store"))
    assert Store(tmp_path / "store").names() == (name,)
    assert not flash(bundle_file, str(tmp_path / "store")).changed


def test_what_is_no_card_and_no_store_is_left_alone(bundle_file, tmp_path, card):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").touch()
    with pytest.raises(EdgepressError, match="neither the root of a card"):
        flash(bundle_file, str(photos))
    with pytest.raises(EdgepressError, match="does not exist"):
        flash(bundle_file, str(tmp_path / "nowhere" / "x"))
    with pytest.raises(EdgepressError, match="is a file, not a folder"):
        flash(bundle_file, str(photos / "a.jpg"))
    assert [p.name for p in photos.iterdir()] == ["a.jpg"]
    outside = tmp_path / "outside"
    outside.mkdir()
    (card / "var").mkdir()
    (card / "var" / "lib").symlink_to(outside)
    with pytest.raises(EdgepressError, match="leads out of the card"):
        flash(bundle_file, str(card))
    assert list(outside.iterdir()) == []


def test_a_card_that_checks_signatures_is_flashed_with_sign(bundle_file, card, name):
    key = signing.new("workshop")
    store = card / "var" / "lib" / "edgepress"
    trusted_keys.add(store, Path(key.public))
    with pytest.raises(EdgepressError, match="is not signed"):
        flash(bundle_file, str(card))
    done = flash(bundle_file, str(card), key="workshop")
    assert done.signed_by == "workshop"
    assert Store(store).open(name).signature is not None
    assert open_bundle(bundle_file).signature is None  # the file itself stays as it was


def test_over_ssh_and_again(host, bundle_file, tmp_path, name):
    root = tmp_path / "models"
    done = flash(bundle_file, host, root=str(root))
    assert (done.target, done.tested_on, done.changed) == (host, host, True)
    assert done.selftest["exact"] == done.selftest["cases"] > 0
    assert Store(root).open(name).digest == done.installed
    assert not flash(bundle_file, host, root=str(root)).changed
    assert not list(incoming(host).glob("*"))


def test_an_interrupted_copy_goes_on_where_it_was(host, bundle_file, monkeypatch):
    remote = Path(board.send(host, bundle_file))
    whole = remote.read_bytes()
    remote.write_bytes(whole[:1000])
    seen = []
    real = board.run
    monkeypatch.setattr(board, "run", lambda *a, **k: seen.append(k.get("skip", 0)) or real(*a, **k))
    assert Path(board.send(host, bundle_file)).read_bytes() == whole == bundle_file.read_bytes()
    assert 1000 in seen
    remote.write_bytes(whole + b"more")
    assert Path(board.send(host, bundle_file)).read_bytes() == whole
    remote.write_bytes(b"\0" * 1000)  # something else of the same name: told, and gone for the next try
    with pytest.raises(EdgepressError, match="did not arrive whole"):
        board.send(host, bundle_file)
    assert Path(board.send(host, bundle_file)).read_bytes() == whole
    board.discard(host, str(remote))


def test_a_store_that_may_not_be_written(host, bundle_file, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EdgepressError, match=rf"on {host}: the store .*file/x may not be written by"):
        flash(bundle_file, host, root=str(tmp_path / "file" / "x"))


def incoming(host):
    return Path(board.run(host, ["sh", "-c", 'echo "${XDG_CACHE_HOME:-$HOME/.cache}/edgepress/incoming"']).strip())


# Fleets


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "names no device"),
        ("x", "is no TOML"),
        ("device = 1", "names no device"),
        ("[[device]]\nroot = '/x'", "device 1 lacks host"),
        ("[[device]]\nhost = 1", "device 1 lacks host, or it is no str"),
        ("[[device]]\nhost = 'a'\ncanary = 1", "lacks canary, or it is no bool"),
        ("[[device]]\nhost = 'a'\nport = 1", "has the unknown key 'port'"),
        ("[[device]]\nhost = 'a'\n[[device]]\nhost = 'a'", "names a twice"),
        ("speed = 1\n[[device]]\nhost = 'a'", "has the unknown key 'speed'"),
    ],
)
def test_files_of_boards_that_are_wrong(tmp_path, text, sentence):
    path = tmp_path / "devices.toml"
    path.write_text(text)
    with pytest.raises(EdgepressError) as caught:
        read(path)
    assert sentence in caught.value.what


def test_files_of_boards(tmp_path):
    path = tmp_path / "devices.toml"
    path.write_text('root = "/a"\n[[device]]\nhost = "x"\ncanary = true\n[[device]]\nhost = "y"\nroot = "/b"\n')
    assert read(path) == (Device("x", "/a", True), Device("y", "/b", False))
    assert read(path, root="/c") == (Device("x", "/c", True), Device("y", "/b", False))


def test_the_plan():
    a, b, c = Device("a"), Device("b", canary=True), Device("c")
    assert plan((a, b, c), ()) == fleet.Plan((b,), (a, c))
    assert plan((a, b, c), ("b",)) == fleet.Plan((), (a, c))
    assert plan((a, c), ()) == fleet.Plan((a,), (c,))  # somebody has to be the first
    assert plan((a, c), ("a",)) == fleet.Plan((), (c,))
    assert plan((a,), ("a",)) == fleet.Plan((), ())


@pytest.fixture
def boards(monkeypatch):
    """A fleet without SSH: what each board answers to `flash`, and what it already has."""
    answers, has = {}, {}

    def device(host, *words):
        if answers.get(host) == "dead":
            raise EdgepressError(f"{host} cannot be reached: no route")
        return {"models": [{"name": n, "installed": d, "problem": None} for n, d in has.get(host, {}).items()]}

    def fake(file, host, root=""):
        if answers.get(host):
            raise EdgepressError(f"{host}: {answers[host]}", "mend it")
        opened = open_bundle(file)
        has.setdefault(host, {})[opened.manifest.name] = opened.digest
        return type("Flashed", (), {"selftest": {"exact": 8, "cases": 8}, "seconds": 0.1})

    monkeypatch.setattr(fleet.board, "device", device)
    monkeypatch.setattr(fleet, "flash", fake)
    return answers


def test_a_fleet_with_dead_and_full_boards_and_its_second_run(bundle_file, boards):
    devices = tuple(Device(f"b{n:02d}") for n in range(50))
    boards.update({f"b{n:02d}": "dead" for n in range(10, 15)} | {"b20": "no space", "b21": "no space"})
    heard = []
    first = flash_all(bundle_file, devices, parallel=50, tell=lambda *words: heard.append(words))
    assert (len(first.done), len(first.failed), first.had_it, first.left) == (43, 7, (), ())
    assert set(first.failed) == set(boards)
    assert {host for host, state, _ in heard if state == "done"} == set(first.done)
    del boards["b20"], boards["b12"]
    second = flash_all(bundle_file, devices, parallel=50)
    assert second.done == ("b12", "b20")
    assert len(second.had_it) == 43
    assert len(second.failed) == 5


def test_a_canary_that_fails_stops_the_rest(bundle_file, boards):
    boards["c"] = "golden cases differ"
    devices = (Device("a"), Device("c", canary=True), Device("b"))
    outcome = flash_all(bundle_file, devices)
    assert (outcome.done, set(outcome.failed), outcome.left) == ((), {"c"}, ("a", "b"))


def test_a_fleet_over_ssh(host, bundle_file, tmp_path):
    outcome = flash_all(bundle_file, (Device(host, str(tmp_path / "s"), True), Device("off", str(tmp_path / "t"))))
    assert outcome.done == (host,)
    assert outcome.failed["off"].startswith("off cannot be reached")
    again = flash_all(bundle_file, (Device(host, str(tmp_path / "s"), True), Device("off", str(tmp_path / "t"))))
    assert (again.had_it, set(again.failed)) == ((host,), {"off"})
