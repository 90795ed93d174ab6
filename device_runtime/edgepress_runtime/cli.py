"""`edgepress-device`: install, list, roll back, self-test, run and measure models on this board."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING, Any, Callable

from edgepress_runtime import __version__, bench_cli, doctor_cli, teach_cli
from edgepress_runtime.boundary import guarded
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.lines import complain, json_line, one_line
from edgepress_runtime.progress import Progress

if TYPE_CHECKING:
    from edgepress_runtime.bundle import Bundle
    from edgepress_runtime.engine import Engine
    from edgepress_runtime.selftest import SelfTest

EXAMPLES = {
    "install": "edgepress-device install cats.edge",
    "list": "edgepress-device list --json",
    "rollback": "edgepress-device rollback cats",
    "selftest": "edgepress-device selftest",
    "trust": "edgepress-device trust add workshop.pub",
    "trial": "edgepress-device trial start computer",
    "run": "edgepress-device run cats pictures/ garden.jpg; edgepress-device run computer evening.wav; "
    'edgepress-device run intents "turn on the light"',
    **bench_cli.EXAMPLES,
    **doctor_cli.EXAMPLES,
    **teach_cli.EXAMPLES,
}


def install(args: argparse.Namespace) -> int:
    """Install a bundle: verify it, self-test it on this board, then switch to it."""
    from edgepress_runtime.bundle import open_bundle
    from edgepress_runtime.store import Store

    begin = time.monotonic()
    done = Store(args.root).install(open_bundle(args.bundle), _self_tester(args), keep=args.keep)
    verb = "installed" if done.changed else "was installed already:"
    return _report_switch(args, f"{done.name} {verb}", done, begin)


def rollback(args: argparse.Namespace) -> int:
    """Go back to the release before the last install; a second rollback changes nothing."""
    from edgepress_runtime.store import Store

    begin = time.monotonic()
    done = Store(args.root).rollback(args.name, _self_tester(args))
    verb = "rolled back to" if done.changed else "was rolled back already, to"
    return _report_switch(args, f"{done.name} {verb}", done, begin)


def list_models(args: argparse.Namespace) -> int:
    """List the installed models."""
    from edgepress_runtime.store import Store

    store = Store(args.root)
    found = store.list()
    lines = [f"{'NAME':<24} {'RELEASE':<12} {'PREVIOUS':<12} {'KB':>8} INSTALLED"]
    for s in found:
        lines.append(f"{s.name:<24} {s.installed[:12]} {(s.previous or '-')[:12]:<12} {s.size / 1e3:>8.0f} {s.since}")
        lines += [f"  {s.problem}"] if s.problem else []
    text = "\n".join(lines) if found else f"no model is installed in {one_line(str(store.root))}"
    return _print(args, {"root": str(store.root), "models": [dataclasses.asdict(s) for s in found]}, text)


def selftest(args: argparse.Namespace) -> int:
    """Run the golden cases of one model, or of all installed ones."""
    from edgepress_runtime.store import Store

    installed: tuple[str | None, ...] = Store(args.root).names()
    names = (args.target,) if args.target else installed or (None,)
    tester = _self_tester(args)
    rows, lines = [], []
    for name in names:
        bundle = _bundle(args, name)
        result = tester(bundle)
        worst = result.worst if result.worst < float("inf") else None  # JSON has no infinity
        facts: dict[str, Any] = {"cases": result.cases, "exact": result.exact, "worst": worst, "ok": result.ok}
        rows.append({"name": bundle.manifest.name, "digest": bundle.digest, **facts})
        lines.append(f"{bundle.manifest.name}: {result.verdict}")
    totals = {key: sum(row[key] for row in rows) for key in ("cases", "exact")}
    _print(args, {"models": rows, **totals}, "\n".join(lines))
    return 0 if all(row["ok"] for row in rows) else 1


def trust(args: argparse.Namespace) -> int:
    """Whose signatures this board asks for: list the keys, add one, or remove one."""
    from pathlib import Path

    from edgepress_runtime import trusted_keys
    from edgepress_runtime.store import Store

    root = Store(args.root).root
    if (args.key is None) != (args.action == "list"):
        args.usage(f"trust {args.action} {'needs a KEY' if args.key is None else 'takes no KEY'}")
    if args.action == "add":
        trusted_keys.add(root, Path(args.key), name=args.name)
    elif args.action == "remove":
        trusted_keys.remove(root, args.key)
    keys = trusted_keys.read(root)
    lines = [f"{key.name:<24} {key.id}" for key in keys]
    text = "\n".join(lines) if keys else "no key is trusted here, so any bundle may be installed"
    return _print(args, {"keys": [{"name": key.name, "id": key.id} for key in keys]}, text)


def trial(args: argparse.Namespace) -> int:
    """For services: count a start of the active release before it is loaded, or confirm that it works."""
    from edgepress_runtime.store import Store

    store = Store(args.root)
    if args.action == "confirm":
        bundle = store.open(args.target)
        store.confirm(bundle)
        note, confirmed, went_back = "", True, None
    else:
        started = store.start(args.target)
        bundle, note, confirmed, went_back = started.bundle, started.note, started.confirmed, started.went_back
    name, digest = bundle.manifest.name, bundle.digest
    text = note or f"{name} {digest[:12]} {'is confirmed' if confirmed else 'is on trial'}"
    value = {"name": name, "installed": digest, "confirmed": confirmed, "went_back": went_back}
    return _print(args, value, text)


def run(args: argparse.Namespace) -> int:
    """Classify pictures or texts, or spot keywords in recordings: files, folders of them, texts, or lines on stdin."""
    from edgepress_runtime.audio import AudioError
    from edgepress_runtime.files import split_target
    from edgepress_runtime.image import ImageError
    from edgepress_runtime.judge import TASKS
    from edgepress_runtime.overlay import in_use
    from edgepress_runtime.text import TextError

    target, words = split_target(args.items, args.root)
    bundle = in_use(_bundle(args, target), complain, args.overlay)
    task = TASKS[bundle.manifest.task]
    if not words and (not task.stdin or sys.stdin.isatty()):
        args.usage(f"no {task.key}s were given; for example: {EXAMPLES['run']}")
    results, skipped = [], []
    items = task.items(words)
    total = len(items) if isinstance(items, Sized) else 0  # nobody knows how many lines are to come
    with _engine(args, bundle, task.threads) as engine, Progress(f"{task.noun}s") as progress:
        judge = task.judge(engine, bundle, args.top)
        for i, item in enumerate(items):
            if total:
                progress(i, total)
            try:
                judged = judge(item)
            except (AudioError, ImageError, TextError) as error:
                skipped.append({task.key: str(item), "reason": error.what})
                complain(f"skipped {str(item) or 'a line'}: {error.what}")
                continue
            results.append(judged.facts)
            if not args.json:
                print("\n".join(judged.lines), flush=True)
    if args.json:
        about = {"model": bundle.manifest.name, "digest": bundle.digest}
        _print(args, {**about, "results": results, "skipped": skipped}, "")
    if not results:
        raise EdgepressError(
            f"no {task.noun} could be {task.done}",
            "give texts" if task.stdin else f"give {task.noun} files, or folders that hold some",
        )
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    return guarded(lambda: _run(argv), debug="--debug" in (sys.argv if argv is None else argv))


def _run(argv: Sequence[str] | None) -> int:
    from edgepress_runtime.arguments import parse, parser

    args = parse(parser(COMMANDS, EXAMPLES, __version__), argv)
    code: int = args.command(args)
    return code


def _bundle(args: argparse.Namespace, target: str | None) -> Bundle:
    from edgepress_runtime.targets import open_target

    return open_target(target, args.root)


def _engine_options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "threads": args.threads,
        "xnnpack": not args.no_xnnpack,
        "delegates": args.delegate,
        "verbose": args.debug,
    }


def _engine(args: argparse.Namespace, bundle: Bundle, threads: int | None = None) -> Engine:
    from edgepress_runtime.engine import open_engine

    return open_engine(bundle.model_source, **{**_engine_options(args), "threads": args.threads or threads})


def _self_tester(args: argparse.Namespace) -> Callable[[Bundle], SelfTest]:
    from edgepress_runtime.selftest import self_test

    def test(bundle: Bundle) -> SelfTest:
        with _engine(args, bundle) as engine:
            return self_test(bundle, engine)

    return test


def _report_switch(args: argparse.Namespace, what: str, done: Any, begin: float) -> int:
    seconds = round(time.monotonic() - begin, 3)
    tested = {"cases": done.selftest.cases, "exact": done.selftest.exact}
    value = {"name": done.name, "installed": done.installed, "previous": done.previous, "selftest": tested}
    before = f"before: {done.previous[:12]}" if done.previous else "no release before it"
    text = f"{what} {done.installed[:12]}; {done.selftest.verdict}; {before}; {seconds:.1f} s"
    return _print(args, {**value, "changed": done.changed, "seconds": seconds}, text)


def _print(args: argparse.Namespace, value: dict[str, Any], text: str) -> int:
    print(json_line(value) if args.json else text)
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "install": install,
    "list": list_models,
    "rollback": rollback,
    "selftest": selftest,
    "trust": trust,
    "trial": trial,
    "run": run,
    "bench": bench_cli.bench,
    "doctor": doctor_cli.doctor,
    "teach": teach_cli.teach,
    "taught": teach_cli.taught,
    "forget": teach_cli.forget,
}
