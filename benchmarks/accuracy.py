"""Accuracy studies: train by a recipe, convert, and evaluate on the held-out part, once for each seed.

    python benchmarks/accuracy.py pv-cells --seeds 0 1 2 --out studies
    python benchmarks/accuracy.py cifar10 --data cifar10.zip --out studies
    python benchmarks/accuracy.py cifar10-reference --data cifar10.zip --out studies

Each step is the `edgepress` command that a user would type. Interrupted trainings go on where they were when the same
line is run again; finished steps are not repeated. The last line on stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Study:
    """A recipe, the data it is for, the bundles whose accuracy is reported, and the recipe of its teacher, if any.

    The teacher is trained once, with seed 0, for all seeds of the student; it sees the same training part.
    """

    recipe: str
    data: str = ""
    schemes: tuple[str, ...] = ("float32", "int8")
    teacher: str = ""


STUDIES = {
    "pv-cells": Study("pv-cells", "pv-cells", teacher="pv-cells-teacher"),
    "pv-cells-teacher": Study("pv-cells-teacher", "pv-cells", ("float32",)),
    "pv-cells-demo": Study("pv-cells-demo", "pv-cells"),
    "cifar10": Study("cifar10"),
    "cifar10-teacher": Study("cifar10-teacher"),
    "cifar10-reference": Study("mlperf-tiny-resnet8"),
}


def edgepress(*words: object) -> dict:
    """Run one command of the kit with `--json`; its progress goes to our stderr."""
    command = [sys.executable, "-m", "edgepress_convert.cli.app", *map(str, words), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"failed: edgepress {' '.join(map(str, words))}")
    return json.loads(done.stdout)


def trained(recipe: str, *, data: str, seed: int, out: Path, teacher: Path | None = None) -> Path:
    """The RUN folder of one training, done now if it is not finished yet."""
    run = out / f"{recipe}-{seed}"
    if not (run / "run.json").is_file():
        train = ["train", "image", "--data", data, "--recipe", recipe, "--seed", seed, "--out", run, "--resume"]
        edgepress(*train, *(("--teacher", teacher) if teacher else ()))
    return run


def measure(study: Study, *, data: str, seed: int, out: Path) -> dict:
    """Train with `seed`, then evaluate every scheme on the held-out part, which no earlier step has seen."""
    teacher = trained(study.teacher, data=data, seed=0, out=out) if study.teacher else None
    run = trained(study.recipe, data=data, seed=seed, out=out, teacher=teacher)
    row: dict = {"seed": seed}
    for scheme in study.schemes:
        bundle = run.with_name(f"{run.name}-{scheme}.edge")
        if not bundle.is_file():
            edgepress("convert", run, "--quantize", scheme, "--out", bundle)
        result = edgepress("evaluate", bundle, "--data", data)
        row[scheme] = {
            key: result.get(key) for key in ("n", "top1", "macro_f1", "per_class", "model_bytes", "confusion")
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("--data", help="folder or zip, for studies on data that edgepress does not bring")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("studies"))
    arguments = parser.parse_args()
    study = STUDIES[arguments.study]
    data = arguments.data or study.data
    if not data:
        parser.error(f"{arguments.study} needs --data")
    rows = [measure(study, data=data, seed=seed, out=arguments.out) for seed in arguments.seeds]
    for scheme in study.schemes:
        tops = [row[scheme]["top1"] for row in rows]
        shown = ", ".join(f"{100 * top:.2f}" for top in tops)
        print(f"{study.recipe} {scheme}: mean {100 * statistics.mean(tops):.2f} % of {shown}; "
              f"{rows[0][scheme]['model_bytes']} bytes", file=sys.stderr)  # fmt: skip
    print(json.dumps({"study": arguments.study, "rows": rows}))


if __name__ == "__main__":
    main()
