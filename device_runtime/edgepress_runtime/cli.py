"""`edgepress-device`: install, list, roll back, self-test, run and measure models on this board."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Callable

from edgepress_runtime import __version__
from edgepress_runtime.boundary import guarded
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.lines import complain, json_line, one_line

if TYPE_CHECKING:
    from edgepress_runtime.bundle import Bundle
    from edgepress_runtime.engine import Engine
    from edgepress_runtime.selftest import SelfTest

EXAMPLES = {
    "install": "edgepress-device install cats.edge",
    "list": "edgepress-device list --json",
    "rollback": "edgepress-device rollback cats",
    "selftest": "edgepress-device selftest",
    "run": "edgepress-device run cats pictures/ garden.jpg; edgepress-device run computer evening.wav",
    "bench": "edgepress-device bench cats --runs 500 --threads 1 --json",
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


def run(args: argparse.Namespace) -> int:
    """Classify pictures, or spot keywords in recordings: files, or folders of them."""
    from edgepress_runtime.audio import AudioError
    from edgepress_runtime.files import find, split_target
    from edgepress_runtime.image import ImageError
    from edgepress_runtime.judge import TASKS

    target, paths = split_target(args.items, args.root)
    if not paths:
        args.usage(f"no files were given; for example: {EXAMPLES['run']}")
    bundle = _bundle(args, target)
    task = TASKS[bundle.manifest.task]
    results, skipped = [], []
    files = find(paths, task.suffixes)
    with _engine(args, bundle, task.threads) as engine, _Progress(f"{task.noun}s") as progress:
        judge = task.judge(engine, bundle.manifest, args.top)
        for i, file in enumerate(files):
            progress(i, len(files))
            try:
                judged = judge(file)
            except (AudioError, ImageError) as error:
                skipped.append({"file": str(file), "reason": error.what})
                complain(f"skipped {file}: {error.what}")
                continue
            results.append(judged.facts)
            if not args.json:
                print("\n".join(judged.lines), flush=True)
    if args.json:
        about = {"model": bundle.manifest.name, "digest": bundle.digest}
        _print(args, {**about, "results": results, "skipped": skipped}, "")
    if not results:
        raise EdgepressError(
            f"no {task.noun} could be {task.done}", f"give {task.noun} files, or folders that hold some"
        )
    return 0


def bench(args: argparse.Namespace) -> int:
    """Measure a model on this board."""
    from edgepress_runtime.bench import bench as measure

    with _Progress("runs") as progress:
        result = measure(_bundle(args, args.target), runs=args.runs, progress=progress, **_engine_options(args))
    ms = result.latency_ms
    memory = "" if result.peak_rss_mb is None else f", {result.peak_rss_mb:.0f} MB at peak"
    cost = result.cpu_s_per_audio_s
    sound = "" if cost is None else f"sound    {cost:.5f} CPU s a second, from samples to decisions\n"
    return _print(
        args,
        dataclasses.asdict(result),
        f"{result.name} {result.model_bytes / 1e3:.0f} kB: {ms['n']} runs, {result.engine}, threads {result.threads}\n"
        f"latency  p50 {ms['p50']:.3f} ms, p90 {ms['p90']:.3f} ms, p99 {ms['p99']:.3f} ms, mean {ms['mean']:.3f} ms\n"
        f"start    load {result.load_ms:.1f} ms, first call {result.first_ms:.2f} ms{memory}\n"
        f"{sound}"
        f"overhead {result.overhead_ratio:.3f} of the bare engine's time; energy: not measured",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
    return guarded(lambda: _run(argv), debug="--debug" in (sys.argv if argv is None else argv))


def _run(argv: Sequence[str] | None) -> int:
    from edgepress_runtime.arguments import parser

    args = parser(COMMANDS, EXAMPLES, __version__).parse_args(argv)
    code: int = args.command(args)
    return code


def _bundle(args: argparse.Namespace, target: str | None) -> Bundle:
    from edgepress_runtime.store import open_target

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


class _Progress:
    """Says on stderr how far something is, once it has taken a second; five times a second on a terminal."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._terminal = sys.stderr.isatty()
        self._next = time.monotonic() + 1.0
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (0.2 if self._terminal else 5.0)
        self._shown = True
        text = f"{done} of {total} {self._unit}"
        if not self._terminal:
            complain(text)
            return
        print(f"\r{text}", end="", file=sys.stderr, flush=True)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown and self._terminal:
            complain("")


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "install": install,
    "list": list_models,
    "rollback": rollback,
    "selftest": selftest,
    "run": run,
    "bench": bench,
}
