"""Compression studies: recipes applied to one finished run, each judged on the held-out part.

    python benchmarks/compression.py channels --run studies/cifar10-wide-0 --data cifar10.zip --out studies/channels
    python benchmarks/compression.py qat      --run studies/cifar10-0 --data cifar10.zip --out studies/qat
    python benchmarks/compression.py zip      --run studies/cifar10-0 --data cifar10.zip --out studies/zip
    python benchmarks/compression.py search   --run studies/cifar10-0 --data cifar10.zip --out studies/search
    python benchmarks/compression.py words    --run studies/keywords-0 --data wakewords --out studies/words

Each step is the `edgepress` command that a user would type, and finished ones are not repeated. Times are ratios of
both files run in turn on this machine. The last line on stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from pathlib import Path

from accuracy import edgepress

from edgepress_convert.compress.measure import speedup
from edgepress_runtime.bundle import open_bundle

# what is compared; the run itself comes first in each
STUDIES: dict[str, tuple[str, ...]] = {
    "channels": ("prune-channels:0.55:epochs=0,distil:epochs=6",),
    "qat": ("finetune:epochs=2", "qat:epochs=2"),
    "zip": ("prune:0.8:epochs=3,qat:epochs=2", "prune:0.6:epochs=3,cluster:16:epochs=2,qat:epochs=2"),
    "words": ("prune-channels:0.55:epochs=0,distil:epochs=30,qat:epochs=5",),
}


def judged(run: Path, bundle: Path, data: str, scheme: str = "int8") -> dict:
    """The held-out accuracy and the costs of `run` under `scheme`."""
    if not bundle.is_file():
        edgepress("convert", run, "--out", bundle, *(() if scheme == "int8" else ("--quantize", scheme)))
    result = edgepress("evaluate", bundle, "--data", data)
    facts = edgepress("inspect", bundle)
    model = bytes(open_bundle(bundle).model)
    return {
        "top1": result["top1"],
        "n": result["n"],
        "bytes": len(model),
        "deflated_bytes": len(zlib.compress(model, 9)),
        "macs": facts["macs"],
        "sparsity": facts["sparsity"],
        "model": model,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=[*STUDIES, "search"])
    parser.add_argument("--run", type=Path, required=True, help="the finished RUN to begin with")
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", action="append", help="other recipes than the study's")
    parser.add_argument("--max-size", default="60kB")
    parser.add_argument("--minutes", type=float, default=40.0)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    rows = {
        "float32": judged(arguments.run, out / "start-float32.edge", arguments.data, "float32"),
        "int8": judged(arguments.run, out / "start-int8.edge", arguments.data),
    }
    if arguments.study == "search":
        asked = ["--max-size", arguments.max_size, "--minutes", arguments.minutes, "--out", out / "search"]
        found = edgepress("search", arguments.run, *asked)
        rows["search"] = judged(out / "search" / "best", out / "best.edge", arguments.data)
        rows["search"]["recipe"] = found["best"]["recipe"]
    else:
        for number, recipe in enumerate(arguments.recipe or STUDIES[arguments.study]):
            run = out / f"recipe-{number}"
            if not (run / "run.json").is_file():
                resume = ["--resume"] if run.is_dir() else []
                edgepress("compress", arguments.run, "--recipe", recipe, "--out", run, *resume)
            rows[recipe] = judged(run, out / f"recipe-{number}.edge", arguments.data)
    start = rows["int8"]
    for name, row in rows.items():
        if name not in ("float32", "int8"):
            timed = speedup(start["model"], row["model"], seconds=10.0, max_runs=5000)
            row |= {"speedup": timed.ratio, "speedup_low": timed.low, "speedup_high": timed.high}
        share = row["deflated_bytes"] / start["deflated_bytes"]
        words = [f"{100 * row['top1']:.2f} % of {row['n']}", f"{row['bytes']:,} bytes"]
        words += [f"deflated {row['deflated_bytes']:,} ({share:.2f} of int8's)", f"{row['macs'] / 1e6:.2f} M MACs"]
        words += [f"{row['speedup']:.2f} times as fast"] if "speedup" in row else []
        print(f"{name}: {', '.join(words)}", file=sys.stderr)
    print(json.dumps({name: {k: v for k, v in row.items() if k != "model"} for name, row in rows.items()}))


if __name__ == "__main__":
    main()
