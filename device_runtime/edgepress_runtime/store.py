"""The board's model store: installs and rolls back whole releases, and survives a power cut at any call.

    ROOT/NAME/releases/SHA/                          a release; never changed, SHA is its manifest's
    ROOT/NAME/generations/N/current, previous        links to two releases
    ROOT/NAME/generations/N/state.json               why this generation was made
    ROOT/NAME/active -> generations/N                the only link that is ever switched
    ROOT/NAME/current, previous -> active/...        made once

Two links cannot be switched at one instant, one can: whatever must change together lies in a generation. What a cut
leaves behind is not reachable from `active`, and the next install or rollback removes it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from edgepress_runtime import disk, releases, state
from edgepress_runtime.bundle import Bundle, is_bundle, open_bundle
from edgepress_runtime.errors import BundleError, StoreError

if TYPE_CHECKING:
    from edgepress_runtime.selftest import SelfTest

DEFAULT_ROOT = "/var/lib/edgepress"
LOCK_WAIT_S = 60.0


@dataclass(frozen=True)
class Installed:
    """What an install or a rollback did. `installed` and `previous` are digests."""

    name: str
    installed: str
    previous: str | None
    selftest: SelfTest
    changed: bool  # False when it was so already


@dataclass(frozen=True)
class Status:
    """One installed model. `problem` is None, or one sentence that says why it cannot be used."""

    name: str
    installed: str
    previous: str | None
    generation: int
    since: str
    size: int
    problem: str | None = None


class Store:
    """The models under `root` (default: `$EDGEPRESS_ROOT`, else /var/lib/edgepress), created by the first install."""

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(root or os.environ.get("EDGEPRESS_ROOT") or DEFAULT_ROOT).absolute()

    def install(self, bundle: Bundle, selftest: Callable[[Bundle], SelfTest], *, keep: int = 2) -> Installed:
        """Copy `bundle` into the store, test the copy with `selftest`, and only then switch to it.

        `keep` releases stay on the board (at least the current and the previous one). Raises StoreError, or what
        `selftest` raises, with the active release unchanged. Installing what is active already changes nothing.
        """
        home = self.root / bundle.manifest.name
        with self._lock():
            disk.make_dir(home / "releases")
            disk.make_dir(home / "generations")
            for folder in (home, self.root):  # a cut may have come between making these and syncing them
                disk.sync_dir(folder)
            before = state.read(home)
            releases.clean(home, before, keep)
            release = home / "releases" / bundle.digest
            fresh = not release.exists()
            try:
                releases.place(bundle, release)
                result = selftest(self._release(home, bundle.digest))
                if not result.ok:
                    what = f"{bundle.manifest.name} was not installed: {result.verdict}"
                    raise StoreError(what, "convert the model again, or try --no-xnnpack")
            except Exception:
                if fresh:
                    _quietly(lambda: disk.remove(release), lambda: releases.clean(home, before, keep))
                raise
            previous = before.current if before is not None else None
            if before is not None and before.current == bundle.digest:
                previous = before.previous
                if before.problem is None:
                    return Installed(bundle.manifest.name, bundle.digest, previous, result, False)
            state.switch(home, bundle.digest, previous, reason="install")
            _quietly(lambda: releases.clean(home, state.read(home), keep))
            return Installed(bundle.manifest.name, bundle.digest, previous, result, True)

    def rollback(self, name: str | None, selftest: Callable[[Bundle], SelfTest], *, keep: int = 2) -> Installed:
        """Go back to the release before the last install, after testing it with `selftest`.

        A second rollback changes nothing, so that the command may be repeated after a power cut; to go forward, install
        the newer bundle again. Raises StoreError when there is no release to go back to.
        """
        name = self._pick(name)
        home = self.root / name
        with self._lock():
            before = state.read(home)
            if before is None:
                raise StoreError(f"{name} is not installed")
            releases.clean(home, before, keep)
            if before.reason == "rollback":
                result = selftest(self._release(home, before.current))
                return Installed(name, before.current, before.previous, result, False)
            if before.previous is None:
                raise StoreError(f"{name} has no previous release to go back to", "install another bundle instead")
            result = selftest(self._release(home, before.previous))
            if not result.ok:
                raise StoreError(f"{name} was not rolled back: in the previous release {result.verdict}")
            state.switch(home, before.previous, before.current, reason="rollback")
            _quietly(lambda: releases.clean(home, state.read(home), keep))
            return Installed(name, before.previous, before.current, result, True)

    def list(self) -> tuple[Status, ...]:
        """Every installed model, by name, each verified."""
        found = []
        for name in self.names():
            now = state.read(self.root / name)
            if now is None:
                continue
            problem, size = now.problem, 0
            try:
                size = sum(len(m) for m in self._release(self.root / name, now.current).members.values())
            except BundleError as error:
                problem = error.what
            found.append(Status(name, now.current, now.previous, now.generation, now.since, size, problem))
        return tuple(found)

    def names(self) -> tuple[str, ...]:
        """The names of the installed models, sorted."""
        try:
            homes = sorted(self.root.iterdir())
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreError(f"the store {self.root} cannot be read: {error.strerror}") from None
        return tuple(home.name for home in homes if (home / "active").is_symlink())

    def open(self, name: str | None = None) -> Bundle:
        """The active release of `name`, or of the only model, verified. Raises StoreError, BundleError."""
        home = self.root / self._pick(name)
        while True:
            now = state.read(home)
            if now is None:
                raise StoreError(f"{home.name} is not installed")
            try:
                return self._release(home, now.current)
            except BundleError:
                # An installer may have switched and cleaned up between the two readings; then there is a newer one.
                if state.read(home) == now:
                    raise

    def _release(self, home: Path, digest: str) -> Bundle:
        bundle = open_bundle(home / "releases" / digest)
        if bundle.digest != digest or bundle.manifest.name != home.name:
            raise BundleError(f"the release {digest[:12]} of {home.name} is damaged", "install its bundle again")
        return bundle

    def _pick(self, name: str | None) -> str:
        names = self.names()
        if name in names:
            return str(name)
        if name is None:
            if len(names) == 1:
                return names[0]
            if names:
                raise StoreError(f"{len(names)} models are installed: {', '.join(names)}", "name one of them")
            raise StoreError(
                f"no model is installed in {self.root}", "install one with: edgepress-device install X.edge"
            )
        from difflib import get_close_matches

        near = get_close_matches(name, names, 1)
        known = f"installed: {', '.join(names)}" if names else "no model is installed"
        raise StoreError(f"no model named {name!r} is installed", f"did you mean {near[0]!r}?" if near else known)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """One writer at a time; the kernel lets go of the lock when its process dies, however it dies."""
        import fcntl

        try:
            disk.make_dir(self.root)
            descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise disk.refused(self.root, error) from None
        try:
            deadline = time.monotonic() + LOCK_WAIT_S
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise StoreError("another install has been running for a minute", "try again later") from None
                    time.sleep(0.05)
            yield
        except OSError as error:
            raise disk.refused(self.root, error) from error
        finally:
            os.close(descriptor)


def open_target(target: str | None, root: str | os.PathLike[str] | None = None) -> Bundle:
    """The bundle that a command means: the file X.edge, or the active release of a NAME (None: the only one) in `root`.

    Raises StoreError, BundleError.
    """
    if target is not None and is_bundle(target):
        return open_bundle(target)
    store = Store(root)
    if target is not None and os.path.lexists(target) and target not in store.names():
        raise BundleError(
            f"{target} is neither an installed model nor an X.edge bundle",
            "make a bundle with: edgepress convert RUN --out X.edge",
        )
    return store.open(target)


def _quietly(*actions: Callable[[], None]) -> None:
    """Tidy up after the deed is done or has failed: what the disk refuses to remove now, the next install removes."""
    for action in actions:
        try:
            action()
        except (StoreError, OSError):
            pass
