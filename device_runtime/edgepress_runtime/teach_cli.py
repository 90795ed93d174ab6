"""`edgepress-device teach`, `taught` and `forget`: classes that a board learns from a few examples."""

from __future__ import annotations

import argparse
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgepress_runtime.lines import complain, json_line, one_line

if TYPE_CHECKING:
    from edgepress_runtime.bundle import Bundle
    from edgepress_runtime.overlay import Overlay, TaughtClass

EXAMPLES = {
    "teach": "edgepress-device teach cats --name lynx lynx/*.jpg; "
    "edgepress-device teach computer --word lamp clips/*.wav",
    "taught": "edgepress-device taught cats",
    "forget": "edgepress-device forget cats --name lynx",
}
_WORDS = {"image-classification": "--name", "keyword-spotting": "--word"}


def teach(args: argparse.Namespace) -> int:
    """Teach a model a class, or a word, from 3 to 10 pictures or recordings of it."""
    from edgepress_runtime import lesson, overlay
    from edgepress_runtime.engine import open_engine
    from edgepress_runtime.files import split_target
    from edgepress_runtime.gather import gather, task_of
    from edgepress_runtime.head import read
    from edgepress_runtime.judge import TASKS

    begin = time.monotonic()
    label, flag = _label(args)
    target, words = split_target(args.items, args.root)
    bundle = _open(args, target)
    facts, task = bundle.manifest, TASKS[task_of(bundle)]
    if flag != _WORDS[facts.task]:
        args.usage(f"{facts.name} is a model for {facts.task}: use {_WORDS[facts.task]} {label}")
    read(bundle)
    path = Path(args.overlay) if args.overlay else overlay.place(bundle)
    lesson.check_name(bundle, _current(bundle, path), label)
    files = list(task.items(words))
    options = {"xnnpack": not args.no_xnnpack, "delegates": args.delegate, "verbose": args.debug}
    with open_engine(bundle.model_source, threads=args.threads or task.threads, **options) as engine:
        gathered = gather(engine, bundle, files)
    for file, reason in gathered.skipped:
        complain(f"skipped {file}: {reason}")
    with _writing(args, bundle):
        after, found = lesson.taught(bundle, _current(bundle, path), label, gathered, task.noun)
        overlay.write(path, after)
    seconds = time.monotonic() - begin
    value = {
        "model": facts.name,
        "digest": bundle.digest,
        "label": label,
        "taught": list(after.labels),
        "new": {"files": found.files, "found": found.found},
        "old": {"n": found.old, "right_before": found.old_before, "right_after": found.old_after},
        "threshold": found.threshold,
        "skipped": [{"file": str(file), "reason": reason} for file, reason in gathered.skipped],
        "overlay": str(path),
        "seconds": round(seconds, 3),
    }
    text = f"{facts.name} knows {one_line(label)} now, from {found.files} {task.noun}s ({seconds:.1f} s)\n"
    return _print(args, value, text + "\n".join(_measured(after.classes[-1], task.noun)))


def taught(args: argparse.Namespace) -> int:
    """List what a model, or each installed one, was taught on this board."""
    from edgepress_runtime import overlay
    from edgepress_runtime.store import Store

    names: tuple[str | None, ...] = (args.target,) if args.target else Store(args.root).names() or (None,)
    rows, lines = [], []
    for name in names:
        bundle = _open(args, name)
        path = Path(args.overlay) if args.overlay else overlay.place(bundle)
        found = _current(bundle, path)
        classes = () if found is None else found.classes
        rows.append(
            {
                "model": bundle.manifest.name,
                "digest": bundle.digest,
                "overlay": str(path) if classes else None,
                "taught": [
                    {"label": c.label, "threshold": c.threshold, "created": c.created, **c.measured} for c in classes
                ],
            }
        )
        lines += [f"{bundle.manifest.name}: {len(classes)} taught"]
        for one in classes:
            lines.append(f"  {one_line(one.label)}, from {one.files} files, {one_line(one.created)}")
    return _print(args, {"models": rows}, "\n".join(lines))


def forget(args: argparse.Namespace) -> int:
    """Take a taught class away again."""
    from edgepress_runtime import lesson, overlay

    label, _ = _label(args)
    bundle = _open(args, args.target)
    path = Path(args.overlay) if args.overlay else overlay.place(bundle)
    with _writing(args, bundle):
        after = lesson.forgotten(bundle, _current(bundle, path), label)
        if after is None:
            overlay.remove(path)
        else:
            overlay.write(path, after)
    left = [] if after is None else list(after.labels)
    name = bundle.manifest.name
    return _print(
        args,
        {"model": name, "digest": bundle.digest, "forgot": label, "taught": left},
        f"{name} forgot {one_line(label)}",
    )


def add_arguments(made: dict[str, argparse.ArgumentParser], target: str) -> None:
    """The options of the three commands, on their parsers."""
    made["teach"].add_argument(
        "items", metavar="[NAME|X.edge] FILE", nargs="+", help=f"{target}; then 3 to 10 files, or a folder of them"
    )
    for name in ("taught", "forget"):
        made[name].add_argument("target", metavar="NAME|X.edge", nargs="?", help=target)
    for name in ("teach", "forget"):
        made[name].add_argument("--name", action="append", default=[], help="the class")
        made[name].add_argument("--word", action="append", default=[], help="the word, for a keyword spotter")
    made["teach"].add_argument(
        "--out", dest="overlay", metavar="FILE", help="overlay to write (default: beside the release, or X.taught)"
    )
    for name in ("taught", "forget", "run"):
        made[name].add_argument(
            "--overlay", metavar="FILE", help="what was taught, if it lies elsewhere (see teach --out)"
        )


def _label(args: argparse.Namespace) -> tuple[str, str]:
    """The one name that was given, and its flag."""
    given = [(name, "--name") for name in args.name] + [(word, "--word") for word in args.word]
    if len(given) != 1:
        args.usage("give one class: --name NAME, or --word WORD" if not given else "one class is taught at a time")
    return given[0]


def _open(args: argparse.Namespace, target: str | None) -> Bundle:
    from edgepress_runtime.targets import open_target

    return open_target(target, args.root)


def _current(bundle: Bundle, path: Path) -> Overlay | None:
    """What this very release was taught. Raises OverlayError for a damaged file and for another release's."""
    from edgepress_runtime import overlay

    found = overlay.read(path)
    if found is not None:
        overlay.applied(bundle, found)
    return found


def _writing(args: argparse.Namespace, bundle: Bundle) -> Any:
    """One writer at a time in the store; a file beside a bundle has its owner alone."""
    from edgepress_runtime.lock import exclusive
    from edgepress_runtime.store import Store

    return exclusive(Store(args.root).root) if bundle.path.is_dir() and not args.overlay else nullcontext()


def _measured(one: TaughtClass, noun: str) -> list[str]:
    found = one.measured
    lines = [f"new      {found['found']} of {found['files']} {noun}s found, each left out in turn"]
    before, after = (100 * found[key] / found["old"] for key in ("old_before", "old_after"))
    lines.append(f"old      {before:.1f} % right before, {after:.1f} % now, of {found['old']} kept examples")
    if one.threshold is not None:
        lines.append(f"reported from a score of {one.threshold:g} on")
    if 2 * found["found"] < found["files"]:
        lines.append(f"it may not be found reliably: teach it with more {noun}s, or with clearer ones")
    return lines


def _print(args: argparse.Namespace, value: dict[str, Any], text: str) -> int:
    print(json_line(value) if args.json else text)
    return 0
