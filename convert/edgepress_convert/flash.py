"""Put a bundle on a board: over SSH, onto the mounted root of its card, or into the image of a card.

Verified and tested before anything is switched.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress_convert import board, card, provision
from edgepress_runtime.bundle import Bundle, open_bundle
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.selftest import SelfTest, self_test
from edgepress_runtime.status import Installed
from edgepress_runtime.store import DEFAULT_ROOT, Store

# Makes the store $1 writable for the user that logs in, through sudo where that asks nothing
_ROOT = (
    '[ -w "$1" ] || { mkdir -p "$1" 2>/dev/null && [ -w "$1" ]; } || '
    'sudo -n install -d -o "$(id -un)" "$1" 2>/dev/null || '
    '{ echo "error: the store $1 may not be written by $(id -un)" >&2; '
    'echo "tip: sudo install -d -o $(id -un) $1 there, or --root ANOTHER" >&2; exit 1; }'
)


@dataclass(frozen=True)
class Flashed:
    """What `flash` did; the fields are the keys of `--json`. `tested_on`: the board itself, or this machine."""

    target: str
    name: str
    installed: str
    previous: str | None
    selftest: dict[str, int]
    tested_on: str
    signed_by: str | None
    changed: bool
    seconds: float


def flash(bundle: Path, target: str, *, key: str = "", root: str = "") -> Flashed:
    """Install `bundle` on `target`: `user@host`, the folder of a mounted root file system, a store, or a card.img.

    A board without the runtime is given it first. With `key` a copy is signed; the file itself stays as it is. `root`:
    the store on the board, by default /var/lib/edgepress. Raises EdgepressError; the board then runs what it ran
    before.
    """
    begin = time.monotonic()
    opened = open_bundle(bundle)
    with signed_copy(bundle, key) as (file, signer):
        if card.is_image(Path(target)):
            done, tested_on = _onto_card(file, Path(target), root), "this machine"
        elif is_folder(target):
            done, tested_on = _onto_folder(file, Path(target), root), "this machine"
        else:
            done, tested_on = _over_ssh(file, target, root), target
    return Flashed(
        target=target,
        name=opened.manifest.name,
        installed=done["installed"],
        previous=done["previous"],
        selftest={key: done["selftest"][key] for key in ("cases", "exact")},
        tested_on=tested_on,
        signed_by=signer,
        changed=done["changed"],
        seconds=round(time.monotonic() - begin, 3),
    )


def is_folder(target: str) -> bool:
    """Whether `target` is a path on this machine. Raises EdgepressError for one that is missing, or no folder."""
    path = Path(target)
    if path.is_dir():
        return True
    if path.exists():
        raise EdgepressError(f"{target} is a file, not a folder or a board", "mount the card, and give its root folder")
    if "/" in target or target in (".", ".."):
        raise EdgepressError(f"the folder {target} does not exist", "mount the card first")
    return False


@contextmanager
def signed_copy(bundle: Path, key: str) -> Iterator[tuple[Path, str | None]]:
    """A copy of `bundle` that `key` signed, and the key's name; the file itself without a key."""
    if not key:
        yield bundle, None
        return
    from edgepress_convert import signing

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / bundle.name
        shutil.copyfile(bundle, copy)
        yield copy, signing.sign(copy, key).name


def store_of(folder: Path, root: str) -> Path:
    """The store that belongs to `folder`: below it where it is a root file system, else the folder itself."""
    if (folder / "etc").is_dir():
        return folder / (root or DEFAULT_ROOT).lstrip("/")
    if root:
        raise EdgepressError(f"{folder} is no root file system, so it has no {root}", "leave --root out")
    if any(folder.iterdir()) and not Store(folder).names() and not (folder / ".lock").exists():
        raise EdgepressError(
            f"{folder} is neither the root of a card (it has no etc) nor an edgepress store",
            "mount the card's second partition, and give that folder",
        )
    return folder


def _onto_folder(file: Path, folder: Path, root: str) -> dict[str, Any]:
    store = store_of(folder, root)
    outside = Path(os.path.realpath(store))
    if outside != store.absolute() and not outside.is_relative_to(folder.resolve()):
        # A link on the card that is absolute would lead into this machine's own system
        raise EdgepressError(f"{store} is a link that leads out of the card, to {outside}", "give the store itself")
    return _told(Store(store).install(open_bundle(file), _tested))


def _onto_card(file: Path, image: Path, root: str) -> dict[str, Any]:
    return _told(card.install(image, open_bundle(file), _tested, root=root or DEFAULT_ROOT))


def _told(done: Installed) -> dict[str, Any]:
    return {
        "installed": done.installed,
        "previous": done.previous,
        "selftest": {"cases": done.selftest.cases, "exact": done.selftest.exact},
        "changed": done.changed,
    }


def _tested(bundle: Bundle) -> SelfTest:
    with open_engine(bundle.model_source) as engine:
        return self_test(bundle, engine)


def _over_ssh(file: Path, host: str, root: str) -> dict[str, Any]:
    if not provision.present(host):
        provision.install(host)
    board.run(host, ["sh", "-c", _ROOT, "sh", root or DEFAULT_ROOT])
    remote = board.send(host, file)
    try:
        return board.device(host, "install", remote, "--root", root or DEFAULT_ROOT)
    finally:
        with suppress(EdgepressError):  # the board may be gone by now, and why it refused is what counts
            board.discard(host, remote)
