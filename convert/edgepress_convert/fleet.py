"""Many boards: a plan that is a pure function of what is known, and a runner that does it, the canaries first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepress_convert import board
from edgepress_convert.flash import flash, signed_copy
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.store import DEFAULT_ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KEYS = {"host", "root", "canary"}


@dataclass(frozen=True)
class Device:
    """One board: how SSH calls it, its store, and whether it tries a bundle before the others."""

    host: str
    root: str = ""
    canary: bool = False


@dataclass(frozen=True)
class Plan:
    """Boards in the order in which they are done: first all `canaries`, then, if they went well, the `rest`."""

    canaries: tuple[Device, ...]
    rest: tuple[Device, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a fleet; the fields are the keys of `--json`.

    `done`: hosts that got the bundle, `had_it`: those that had it already, `failed`: why, a host; `left`: those that
    were not tried because a canary failed.
    """

    name: str
    installed: str
    done: tuple[str, ...] = ()
    had_it: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    left: tuple[str, ...] = ()


# (host, what it is doing: `waiting`, `flashing`, `done`, `had it`, `failed`, `not tried`, and a sentence)
Tell = Callable[[str, str, str], None]


def read(path: Path, *, root: str = "") -> tuple[Device, ...]:
    """The boards in a TOML file: `[[device]]` tables with `host`, and perhaps `root` and `canary = true`.

    `root` and `canary` may stand at the top for all of them. Raises EdgepressError with what is wrong.
    """
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EdgepressError(f"{path} cannot be read: {error.strerror or error}", "give a file of boards") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EdgepressError(f"{path} is no TOML: {error}", _EXAMPLE) from None
    rows = value.pop("device", None)
    strange = sorted(value.keys() - {"root"})
    if strange or not isinstance(rows, list) or not rows:
        what = f"has the unknown key {strange[0]!r}" if strange else "names no device"
        raise EdgepressError(f"{path} {what}", _EXAMPLE)
    found = tuple(_device(row, root or value.get("root", ""), f"{path}: device {n}") for n, row in enumerate(rows, 1))
    hosts = [device.host for device in found]
    twice = next((host for host in hosts if hosts.count(host) > 1), None)
    if twice is not None:
        raise EdgepressError(f"{path} names {twice} twice", "leave one out")
    return found


_EXAMPLE = 'write one [[device]] for each, with host = "pi@board.local"'


def _device(row: Any, root: Any, where: str) -> Device:
    if not isinstance(row, dict):
        raise EdgepressError(f"{where} is no table", _EXAMPLE)
    strange = sorted(row.keys() - _KEYS)
    if strange:
        raise EdgepressError(f"{where} has the unknown key {strange[0]!r}", f"known: {', '.join(sorted(_KEYS))}")
    values = {"root": root, "canary": False, **row}
    for key, kind in (("host", str), ("root", str), ("canary", bool)):
        if type(values.get(key)) is not kind:
            raise EdgepressError(f"{where} lacks {key}, or it is no {kind.__name__}", _EXAMPLE)
    return Device(**values)


def plan(devices: Iterable[Device], has_it: Iterable[str]) -> Plan:
    """Who is still to be done, given the hosts that have the bundle already. Without a canary the first one is it."""
    known = set(has_it)
    every = tuple(devices)
    waiting = tuple(device for device in every if device.host not in known)
    canaries = tuple(device for device in waiting if device.canary)
    if not canaries and not any(device.canary or device.host in known for device in every):
        canaries = waiting[:1]
    return Plan(canaries, tuple(device for device in waiting if device not in canaries))


def flash_all(
    bundle: Path, devices: Sequence[Device], *, key: str = "", parallel: int = 16, tell: Tell | None = None
) -> Outcome:
    """Install `bundle` on all `devices`, `parallel` at a time. Raises EdgepressError for a bundle or key that is bad.

    First each is asked what it runs. A canary that fails, or cannot be reached, stops the others; of those any failure
    stays its own.
    """
    say = tell or _nothing
    opened = open_bundle(bundle)
    name, digest = opened.manifest.name, opened.digest
    with signed_copy(bundle, key) as (file, _), ThreadPoolExecutor(parallel) as pool:
        had_it = _asked(pool, devices, name, digest, say)
        steps = plan(devices, had_it)
        done, failed = _flashed(pool, file, steps.canaries, say)
        left: tuple[str, ...] = ()
        if failed:
            left = tuple(device.host for device in steps.rest)
            for host in left:
                say(host, "not tried", "a canary failed")
        else:
            more, failed = _flashed(pool, file, steps.rest, say)
            done += more
    return Outcome(name, digest, tuple(sorted(done)), tuple(sorted(had_it)), dict(sorted(failed.items())), left)


def _asked(pool: ThreadPoolExecutor, devices: Sequence[Device], name: str, digest: str, say: Tell) -> tuple[str, ...]:
    """The hosts on which `digest` is active already; one that does not answer is found out later."""

    def has(device: Device) -> bool:
        try:
            told = board.device(device.host, "list", "--root", device.root or DEFAULT_ROOT)
        except EdgepressError:
            return False
        models = told.get("models", [])
        return any(m["name"] == name and m["installed"] == digest and not m["problem"] for m in models)

    found = []
    for device, there in zip(devices, pool.map(has, devices), strict=True):
        if there:
            found.append(device.host)
            say(device.host, "had it", "")
    return tuple(found)


def _flashed(
    pool: ThreadPoolExecutor, file: Path, devices: Sequence[Device], say: Tell
) -> tuple[list[str], dict[str, str]]:
    def work(device: Device) -> str:
        say(device.host, "flashing", "")
        result = flash(file, device.host, root=device.root)
        return f"{result.selftest['exact']} of {result.selftest['cases']} golden cases exact, {result.seconds:.1f} s"

    waiting = {pool.submit(work, device): device.host for device in devices}
    done, failed = [], {}
    for future in as_completed(waiting):
        host = waiting[future]
        try:
            told = future.result()
        except EdgepressError as error:
            failed[host] = str(error)
            say(host, "failed", error.what)
        else:
            done.append(host)
            say(host, "done", told)
    return done, failed


def _nothing(host: str, state: str, sentence: str) -> None:
    """Nobody watches."""
