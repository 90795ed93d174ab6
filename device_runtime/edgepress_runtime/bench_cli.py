"""`edgepress-device bench`."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from edgepress_runtime.lines import json_line
from edgepress_runtime.progress import Progress

if TYPE_CHECKING:
    from edgepress_runtime.bundle import Bundle

EXAMPLES = {
    "bench": "edgepress-device bench cats --runs 500 --threads 1 --json; "
    "edgepress-device bench cats --seconds 20 --against new.edge",
}


def bench(args: argparse.Namespace) -> int:
    """Measure a model on this board: time, memory and energy, and whether the figures may be believed."""
    from edgepress_runtime import bench_shown, compare, sweep
    from edgepress_runtime.bench import bench as measure
    from edgepress_runtime.meters.choice import energy_meter

    span = _span(args)
    unit = "runs" if span["runs"] > 1 else "s"
    options = {"xnnpack": not args.no_xnnpack, "delegates": args.delegate, "verbose": args.debug}
    bundle = _open(args, args.target)
    other = _open(args, args.against) if args.against else None
    with Progress("s of the power measurement") as powering, Progress(unit) as progress:
        energy = energy_meter(args.power, args.power_csv, progress=powering)
        result = measure(bundle, **span, threads=args.threads, energy=energy, progress=progress, **options)
    if args.threads_sweep:
        with Progress(f"{unit} of the sweep") as progress:
            rows = sweep.sweep(bundle, args.threads_sweep, **span, progress=progress, **options)
        result = replace(result, sweep=rows)
    if other is not None:
        with Progress(f"{unit} of the comparison") as progress:
            found = compare.compare(bundle, other, **span, threads=args.threads, progress=progress, **options)
        result = replace(result, against=found)
    print(json_line(asdict(result)) if args.json else "\n".join(bench_shown.lines(result)))
    return 0


def _span(args: argparse.Namespace) -> dict[str, Any]:
    """How long each measurement takes, as `timing.in_turn` has it."""
    if args.runs or args.seconds:
        return {"runs": args.runs or 1, "seconds": args.seconds or 0.0}
    return {"runs": 300, "seconds": 1.0}  # a small model's 300 calls are over before clocks have settled


def _open(args: argparse.Namespace, target: str | None) -> Bundle:
    from edgepress_runtime.targets import open_target

    return open_target(target, args.root)
