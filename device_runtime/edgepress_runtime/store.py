"""The board's model store: installs and rolls back whole releases, and survives a power cut at any call.

    ROOT/NAME/releases/SHA/                          a release; never changed, SHA is its manifest's
    ROOT/NAME/generations/N/current, previous        links to two releases
    ROOT/NAME/generations/N/state.json, trial.json   why this generation was made, and whether it has proved itself
    ROOT/NAME/active -> generations/N                the only link that is ever switched
    ROOT/NAME/current, previous -> active/...        made once
    ROOT/NAME/floor.json                             the lowest version that is still taken
    ROOT/.trust/KEY.pub                              whose signatures are needed; none: anything is taken

Two links cannot be switched at one instant, one can: whatever must change together lies in a generation. What a cut
leaves behind is not reachable from `active`, and the next install or rollback removes it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Callable

from edgepress_runtime import disk, lock, releases, state, trial, trust, trusted_keys
from edgepress_runtime.bundle import MANIFEST, Bundle, open_bundle
from edgepress_runtime.errors import BundleError, StoreError
from edgepress_runtime.status import Installed, Started, Status

if TYPE_CHECKING:
    from edgepress_runtime.selftest import SelfTest

DEFAULT_ROOT = "/var/lib/edgepress"


class Store:
    """The models under `root` (default: `$EDGEPRESS_ROOT`, else /var/lib/edgepress), created by the first install."""

    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(root or os.environ.get("EDGEPRESS_ROOT") or DEFAULT_ROOT).absolute()

    def install(self, bundle: Bundle, selftest: Callable[[Bundle], SelfTest], *, keep: int = 2) -> Installed:
        """Copy `bundle` into the store, test the copy with `selftest`, and only then switch to it.

        `keep` releases stay on the board (at least the current and the previous one). Raises StoreError, TrustError for
        a bundle that the keys of this store do not vouch for, or what `selftest` raises, with the active release
        unchanged. Installing what is active already changes nothing.
        """
        home = self.root / bundle.manifest.name
        with lock.exclusive(self.root):
            keys = trusted_keys.read(self.root)
            trust.judge(
                bytes(bundle.members[MANIFEST]),
                bundle.signature,
                bundle.manifest.version,
                keys=keys,
                floor=trial.floor(home) if keys else 0,
            )
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
        with lock.exclusive(self.root):
            before = state.read(home)
            if before is None:
                raise StoreError(f"{name} is not installed")
            releases.clean(home, before, keep)
            if before.went_back:
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

    def start(self, name: str | None) -> Started:
        """What an app should run now; called once, before the model is loaded.

        The start of a release on trial is counted, durably. One that had its three chances is left for the release
        before it, which has proved itself. An app that may not write the store starts what is there, uncounted. Raises
        StoreError.
        """
        name = self._pick(name)
        home = self.root / name
        if not os.access(self.root, os.W_OK):
            return Started(self.open(name), confirmed=True)
        with lock.exclusive(self.root):
            now = state.read(home)
            if now is None:
                raise StoreError(f"{name} is not installed")
            went_back = None
            if now.trial.failed and now.previous is not None:
                went_back = now.current
                state.switch(home, now.previous, now.current, reason="trial")
                now = state.read(home) or now
            elif not now.trial.confirmed:
                trial.write(state.folder(home, now), trial.Trial(min(now.trial.starts, 99) + 1, False))
            return Started(self._release(home, now.current), now.trial.confirmed, went_back)

    def confirm(self, bundle: Bundle) -> None:
        """The active release `bundle` answers as it should: its trial is over, and no older version may follow it.

        Nothing happens when it is not the active one any more. Raises StoreError.
        """
        home = self.root / bundle.manifest.name
        with lock.exclusive(self.root):
            now = state.read(home)
            if now is None or now.current != bundle.digest:
                return
            trial.raise_floor(home, bundle.manifest.version)
            if not now.trial.confirmed:
                trial.write(state.folder(home, now), trial.Trial(now.trial.starts, True))

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
            found.append(
                Status(
                    name, now.current, now.previous, now.generation, now.since, size, problem,
                    now.trial.confirmed, now.trial.starts,
                )
            )  # fmt: skip
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


def _quietly(*actions: Callable[[], None]) -> None:
    """Tidy up after the deed is done or has failed: what the disk refuses to remove now, the next install removes."""
    for action in actions:
        try:
            action()
        except (StoreError, OSError):
            pass
