"""The store: what it promises, and that a power cut, a failing disk or a second installer cannot break the promise.

A cut is tested at every durable call, in two worlds: one where everything done so far has reached the disk, and one
where whatever was not synced is lost. Then the same command runs again, which must end as if there had been no cut,
and once more, which must change nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgepress_runtime import disk
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import BundleError, EdgepressError, StoreError
from edgepress_runtime.selftest import SelfTest
from edgepress_runtime.store import Store


class PowerCut(BaseException):
    """Not an Exception: nothing in the program may catch it, as nothing runs after a cut."""


class Disk:
    """Stands in for the seam of `disk`: counts calls, can fail or cut at one, and knows what was never synced."""

    def __init__(self, monkeypatch, *, cut=None, error=None, at=None):
        self.calls = []
        self.cut, self.error, self.at = cut, error, at
        self.undo = {}  # folder -> undoings of changes to its names that were not synced
        self.unsynced = {}  # inode -> path, of files with unsynced contents
        monkeypatch.setattr(disk, "_system_call", self)

    def __call__(self, name, path, action):
        k = len(self.calls)
        self.calls.append(name)
        if k == self.cut:
            raise PowerCut
        if k == self.at:
            raise OSError(self.error, os.strerror(self.error))
        before = self._before(name, path)
        result = action()
        self._remember(name, Path(path), before, result)
        return result

    def _before(self, name, path):
        if name == "rename" and path.is_symlink():
            return ("link", str(path.readlink()))
        if name == "rename" and path.is_file():
            return ("file", path.read_bytes())
        if name == "unlink":
            return ("link", str(path.readlink())) if path.is_symlink() else ("file", path.read_bytes())
        return None

    def _remember(self, name, path, before, result):
        pending = self.undo.setdefault(path.parent, [])
        if name in ("create", "mkdir", "symlink"):
            pending.append(lambda: disk_remove(path))
            if name == "create":
                self.unsynced[path] = True
        elif name == "rename":
            pending.append(lambda: (disk_remove(path), put_back(path, before)))
        elif name == "unlink":
            pending.append(lambda: put_back(path, before))
        elif name == "rmdir":
            pending.append(lambda: path.mkdir(exist_ok=True))
        elif name == "fsync":
            if path.is_dir():
                self.undo[path] = []
            self.unsynced.pop(path, None)

    def lose_unsynced(self):
        """What the card looks like after the cut if it kept only what was synced."""
        for path in self.unsynced:
            if path.is_file():
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        for pending in self.undo.values():
            for undo in reversed(pending):
                try:
                    undo()
                except FileNotFoundError:
                    pass  # the folder itself is lost


def disk_remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def put_back(path, before):
    if before and not os.path.lexists(path):
        path.symlink_to(before[1]) if before[0] == "link" else path.write_bytes(before[1])


def exact(bundle):
    return SelfTest(4, 4, 0.0)


def tree(root: Path):
    """Everything under `root`: links by target, files by contents. Times in state.json are not compared."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = ("link", str(path.readlink()))
        elif path.is_file():
            text = path.read_bytes()
            found[name] = json.loads(text)["reason"] if path.name == "state.json" else hashlib.sha256(text).hexdigest()
        else:
            found[name] = "folder"
    return found


def settled(root):
    """`tree` without what a cut may leave behind until the next command: nothing reachable."""
    store = Store(root)
    return {s.name: (s.installed, s.previous, s.problem) for s in store.list()}


@pytest.fixture(autouse=True)
def no_real_syncs(monkeypatch):
    """The order of syncs is what is tested; waiting for this machine's own disk would only take time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def bundles(make_bundle):
    return [open_bundle(make_bundle(file=f"{seed}.edge", seed=seed)) for seed in range(4)]


def install(root, bundle):
    return Store(root).install(bundle, exact)


def rollback(root, bundle):
    return Store(root).rollback("pets", exact)


# (command, releases installed before it)
COMMANDS = {
    "first install": (install, ()),
    "second install": (install, (1,)),
    "third install": (install, (1, 2)),
    "install of the previous release": (install, (0, 1)),
    "rollback": (rollback, (1, 0)),
}


def prepare(root, bundles, before):
    for i in before:
        install(root, bundles[i])


@pytest.mark.parametrize("world", ["all synced", "unsynced lost"])
@pytest.mark.parametrize("case", COMMANDS)
def test_power_cut_at_every_call(tmp_path, monkeypatch, bundles, case, world):
    command, before = COMMANDS[case]
    start, wanted = tmp_path / "start", tmp_path / "wanted"
    prepare(start, bundles, before)
    old = settled(start)
    if start.exists():
        shutil.copytree(start, wanted, symlinks=True)
    with monkeypatch.context() as patch:
        whole = Disk(patch)
        command(wanted, bundles[0])
    new, final = settled(wanted), tree(wanted)
    assert old != new
    assert len(whole.calls) > 15
    for k in range(len(whole.calls)):
        root = tmp_path / "cut"
        if start.exists():
            shutil.copytree(start, root, symlinks=True)
        with monkeypatch.context() as patch:
            cut = Disk(patch, cut=k)
            with pytest.raises(PowerCut):
                command(root, bundles[0])
        if world == "unsynced lost":
            cut.lose_unsynced()
        after = settled(root)
        assert after in (old, new), f"after a cut at call {k} ({whole.calls[k]})"
        command(root, bundles[0])
        assert tree(root) == final, f"repeated after a cut at call {k}"
        assert not command(root, bundles[0]).changed
        assert tree(root) == final, f"once more after a cut at call {k}"
        shutil.rmtree(root)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("case", ["first install", "second install", "rollback"])
def test_disk_error_at_every_call(tmp_path, monkeypatch, bundles, case, number):
    command, before = COMMANDS[case]
    start = tmp_path / "start"
    prepare(start, bundles, before)
    old = settled(start)
    wanted = shutil.copytree(start, tmp_path / "wanted", symlinks=True) if before else tmp_path / "wanted"
    command(wanted, bundles[0])
    new = settled(wanted)
    k = 0
    while True:
        root = tmp_path / "failing"
        if start.exists():
            shutil.copytree(start, root, symlinks=True)
        with monkeypatch.context() as patch:
            failing = Disk(patch, error=number, at=k)
            try:
                command(root, bundles[0])
                failed = False
            except StoreError as error:
                failed = True
                assert str(tmp_path) in error.what
        after = settled(root)
        if failed:
            # A failed sync after the switch may report a failure although the new release is active: never half of it.
            assert after == old or (after == new and failing.calls[k] in ("open", "fsync"))
        command(root, bundles[0])
        assert tree(root) == tree(wanted)
        shutil.rmtree(root)
        if k >= len(failing.calls):
            assert not failed
            return
        k += 1


def test_no_space_leaves_no_rubbish(tmp_path, monkeypatch, bundles):
    install(tmp_path / "s", bundles[1])
    before = tree(tmp_path / "s")
    with monkeypatch.context() as patch:
        calls = Disk(patch)
        install(shutil.copytree(tmp_path / "s", tmp_path / "t", symlinks=True), bundles[0])
    third_write = [i for i, name in enumerate(calls.calls) if name == "write"][2]
    with monkeypatch.context() as patch:
        Disk(patch, error=errno.ENOSPC, at=third_write)
        with pytest.raises(StoreError, match="no space is left for"):
            install(tmp_path / "s", bundles[0])
    assert tree(tmp_path / "s") == before


def test_layout(tmp_path, bundles):
    install(tmp_path, bundles[0])
    install(tmp_path, bundles[1])
    home = tmp_path / "pets"
    assert (home / "active").readlink() == Path("generations/2")
    assert (home / "current").readlink() == Path("active/current")
    assert (home / "previous").readlink() == Path("active/previous")
    assert (home / "current").resolve() == home / "releases" / bundles[1].digest
    assert (home / "previous").resolve() == home / "releases" / bundles[0].digest
    state = json.loads((home / "active" / "state.json").read_text())
    assert state.keys() == {"format", "reason", "since"}
    release = home / "releases" / bundles[1].digest
    assert {p.name: p.read_bytes() for p in release.iterdir()} == {n: bytes(m) for n, m in bundles[1].members.items()}


def test_installing_the_active_release_again_changes_nothing(tmp_path, bundles):
    install(tmp_path, bundles[0])
    install(tmp_path, bundles[1])
    before = tree(tmp_path)
    again = install(tmp_path, bundles[1])
    assert not again.changed
    assert (again.installed, again.previous) == (bundles[1].digest, bundles[0].digest)
    assert tree(tmp_path) == before


def test_rollback_and_its_repetition(tmp_path, bundles):
    for bundle in bundles[:2]:
        install(tmp_path, bundle)
    store = Store(tmp_path)
    done = store.rollback(None, exact)
    assert done.changed and (done.installed, done.previous) == (bundles[0].digest, bundles[1].digest)
    assert store.open().digest == bundles[0].digest
    assert not store.rollback("pets", exact).changed
    assert store.open().digest == bundles[0].digest
    assert install(tmp_path, bundles[1]).changed
    assert store.open().digest == bundles[1].digest


def test_rollback_without_a_previous_release(tmp_path, bundles):
    install(tmp_path, bundles[0])
    with pytest.raises(StoreError, match="pets has no previous release to go back to"):
        Store(tmp_path).rollback("pets", exact)


def test_failed_self_test_keeps_the_old_release_and_leaves_nothing(tmp_path, bundles):
    install(tmp_path, bundles[0])
    before = tree(tmp_path)
    with pytest.raises(StoreError, match="pets was not installed: 1 of 4 golden cases differ, the worst by 12"):
        Store(tmp_path).install(bundles[1], lambda bundle: SelfTest(4, 3, 12.0))
    with pytest.raises(EdgepressError, match="no engine"):
        Store(tmp_path).install(bundles[1], lambda bundle: (_ for _ in ()).throw(EdgepressError("no engine")))
    assert tree(tmp_path) == before


def test_self_test_sees_the_copy_on_the_board(tmp_path, bundles):
    seen = []
    Store(tmp_path).install(bundles[0], lambda bundle: seen.append(bundle.path) or exact(bundle))
    assert seen == [tmp_path / "pets" / "releases" / bundles[0].digest]


def test_rollback_refuses_a_previous_release_that_fails_its_test(tmp_path, bundles):
    for bundle in bundles[:2]:
        install(tmp_path, bundle)
    with pytest.raises(StoreError, match="pets was not rolled back: in the previous release 4 of 4"):
        Store(tmp_path).rollback("pets", lambda bundle: SelfTest(4, 0, 3.0))
    assert Store(tmp_path).open().digest == bundles[1].digest


def test_keep_counts_releases(tmp_path, bundles):
    store = Store(tmp_path)
    for bundle in bundles:
        store.install(bundle, exact, keep=3)
    kept = {p.name for p in (tmp_path / "pets" / "releases").iterdir()}
    assert kept == {b.digest for b in bundles[1:]}
    store.install(bundles[3], exact, keep=1)
    assert {p.name for p in (tmp_path / "pets" / "releases").iterdir()} == {b.digest for b in bundles[2:]}


def test_a_damaged_release_is_reported_and_mended_by_installing_again(tmp_path, bundles):
    install(tmp_path, bundles[0])
    model = tmp_path / "pets" / "current" / "model.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"!")
    (model.parent / "foreign").write_bytes(b"")
    with pytest.raises(BundleError):
        Store(tmp_path).open("pets")
    assert "model.tflite" in Store(tmp_path).list()[0].problem or "foreign" in Store(tmp_path).list()[0].problem
    install(tmp_path, bundles[0])
    assert Store(tmp_path).open("pets").digest == bundles[0].digest
    assert Store(tmp_path).list()[0].problem is None


def test_a_release_swapped_for_another_whole_bundle_is_refused(tmp_path, bundles):
    install(tmp_path, bundles[0])
    release = tmp_path / "pets" / "releases" / bundles[0].digest
    for name, data in bundles[1].members.items():
        (release / name).write_bytes(data)
    with pytest.raises(BundleError, match="is damaged"):
        Store(tmp_path).open("pets")


def test_a_damaged_state_note_does_not_stop_the_board(tmp_path, bundles):
    for bundle in bundles[:2]:
        install(tmp_path, bundle)
    (tmp_path / "pets" / "active" / "state.json").write_bytes(b"\xff{")
    assert Store(tmp_path).open().digest == bundles[1].digest
    assert "state.json" in Store(tmp_path).list()[0].problem
    done = install(tmp_path, bundles[1])
    assert done.previous == bundles[0].digest
    assert Store(tmp_path).list()[0].problem is None


@pytest.mark.parametrize("target", ["../../etc", "generations/0", "/tmp", "generations/7"])
def test_an_active_link_that_leads_elsewhere_is_not_followed(tmp_path, bundles, target):
    install(tmp_path, bundles[0])
    (tmp_path / "pets" / "active").unlink()
    (tmp_path / "pets" / "active").symlink_to(target)
    with pytest.raises(StoreError, match="the store of pets is damaged"):
        Store(tmp_path).open("pets")


def test_names(tmp_path, make_bundle):
    store = Store(tmp_path / "s")
    with pytest.raises(StoreError, match="no model is installed in"):
        store.open()
    for name in ("cats", "dogs"):
        store.install(open_bundle(make_bundle(name=name)), exact)
    (tmp_path / "s" / "stray").mkdir()
    assert store.names() == ("cats", "dogs")
    with pytest.raises(StoreError, match="2 models are installed: cats, dogs"):
        store.open()
    with pytest.raises(StoreError) as caught:
        store.open("dgos")
    assert (caught.value.what, caught.value.remedy) == ("no model named 'dgos' is installed", "did you mean 'dogs'?")
    with pytest.raises(StoreError, match="no model named"):
        store.open("../s/cats")


def test_root_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("EDGEPRESS_ROOT", "/somewhere")
    assert Store().root == Path("/somewhere")
    monkeypatch.delenv("EDGEPRESS_ROOT")
    assert Store().root == Path("/var/lib/edgepress")


def test_a_file_in_place_of_the_root(tmp_path, bundles):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="file is a file, not a folder"):
        install(tmp_path / "file", bundles[0])


INSTALLER = """
import sys
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.selftest import SelfTest
from edgepress_runtime.store import Store
for _ in range(5):
    for path in sys.argv[2:]:
        Store(sys.argv[1]).install(open_bundle(path), lambda bundle: SelfTest(1, 1, 0.0))
        Store(sys.argv[1]).open("pets")
"""


def test_two_installers_at_once(tmp_path, make_bundle, environment):
    paths = [str(make_bundle(file=f"{seed}.edge", seed=seed)) for seed in range(3)]
    root = str(tmp_path / "s")
    orders = (paths, paths[::-1])
    running = [
        subprocess.Popen([sys.executable, "-c", INSTALLER, root, *order], env=environment, stderr=subprocess.PIPE)
        for order in orders
    ]
    for process in running:
        _, complaint = process.communicate(timeout=60)
        assert (process.returncode, complaint) == (0, b"")
    (status,) = Store(root).list()
    assert status.problem is None
    assert {status.installed, status.previous} <= {open_bundle(p).digest for p in paths}
    assert not list(Path(root).rglob("*.partial"))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize(("call", "step"), [("rename", 1), ("symlink", 1), ("fsync", 5), ("write", 1)])
def test_a_real_kill_at_system_calls(tmp_path, make_bundle, environment, call, step):
    """The kernel kills the installer at its k-th such call: this also catches calls that bypass the seam."""
    paths = [make_bundle(file=f"{seed}.edge", seed=seed) for seed in range(2)]
    first, second = (open_bundle(p).digest for p in paths)
    k = killed = 0
    while True:
        k += step
        root = tmp_path / f"s{k}"
        install(root, open_bundle(paths[0]))
        command = ["strace", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e"]
        command += [
            f"inject={call}:signal=KILL:when={k}",
            sys.executable,
            "-c",
            INSTALLER.replace("range(5)", "range(1)"),
        ]
        done = subprocess.run([*command, str(root), str(paths[1])], env=environment, timeout=60, check=False)
        assert Store(root).open("pets").digest in (first, second)
        if done.returncode == 0:
            break
        killed += 1
        install(root, open_bundle(paths[1]))
        (status,) = Store(root).list()
        assert (status.installed, status.previous) == (second, first)
    assert killed >= 3
