"""Few labels: the same net, labels and augmentation from scratch and from a pretrained encoder, on the held-out part.

    python benchmarks/pretraining.py cifar10 --data cifar10.zip --seeds 0 1 2 --out studies/few
    python benchmarks/pretraining.py words   --data wakewords.zip --seeds 0 1 2 --out studies/words
    python benchmarks/pretraining.py tuning  --data cifar10.zip --seeds 0 1 2 --out studies/few

`cifar10`: 10 % and 1 % of the labels. `words`: five crowd recordings of each of four words, split by file, and the rest
of the training part without labels. `tuning`: all weights, additions of low rank, adapters, biases and the head alone,
from the same encoder with 10 % of the labels. Each bundle is judged as float32 and int8, and what is left of the gain
after one compression pass is told. Every step is the `edgepress` command that a user would type; finished ones are not
repeated, interrupted ones go on. The last line on stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from accuracy import edgepress

NET = "resnet:widths=16-32-64:blocks=1:stem=2"  # 78,714 weights, as many as ResNet-8, at a quarter of its work


@dataclass(frozen=True)
class Study:
    """`shared` flags of both commands; encoders by name, with their flags of `pretrain`; `taught`: flags of `train`.

    `budgets`: how many labels, by name. `tunes`: what is compared, from the first encoder, instead of the encoders.
    """

    kind: str
    shared: tuple[str, ...]
    encoders: Mapping[str, tuple[str, ...]]
    taught: tuple[str, ...]
    budgets: Mapping[str, tuple[str, ...]]
    tunes: tuple[str, ...] = ()
    compress: str = ""


_IMAGES = ("--arch", NET, "--size", "32", "--val-fraction", "0.02")
_TAUGHT = ("--batch", "64", "--lr", "2e-3", "--ema", "0.99", "--augment", "flip-h, shift-pixels:4")
_MILD = "crop:0.5, flip-h, brightness:0.2, contrast:0.2"
_ENCODERS = {
    "taught": ("--teacher", "efficientnet-lite0", "--epochs", "15", "--augment", _MILD),
    "simclr": ("--method", "simclr", "--epochs", "16"),
}
_SPEECH = ("--arch", "ds-tcn:kernels=3-5-7-9")

STUDIES = {
    "cifar10": Study(
        "image", _IMAGES, _ENCODERS, _TAUGHT,
        {"10%": ("--label-fraction", "0.1", "--epochs", "60"), "1%": ("--label-fraction", "0.01", "--epochs", "200")},
        compress="prune:0.5:epochs=5",
    ),
    "tuning": Study(
        "image", _IMAGES, _ENCODERS, _TAUGHT, {"10%": ("--label-fraction", "0.1", "--epochs", "60")},
        tunes=("full", "lora:2", "adapter:4", "bias", "head"),
    ),
    "words": Study(
        "speech", _SPEECH,
        {
            "simclr": ("--method", "simclr", "--window-s", "1.3", "--epochs", "60"),
            "masked": ("--method", "masked", "--window-s", "2.0", "--epochs", "60"),
        },
        ("--window-s", "1.3", "--epochs", "200", "--batch", "32", "--copies", "6", "--ema", "0.95"),
        {"5 each": ("--labels-per-class", "5")},
    ),
}  # fmt: skip


def run_of(command: str, study: Study, out: Path, *words: object) -> Path:
    """The RUN folder `out` of `edgepress pretrain` or `train`, made now if it is not finished yet."""
    if not (out / "run.json").is_file():
        edgepress(command, study.kind, *study.shared, *words, "--out", out, "--resume")
    return out


def judged(run: Path, data: str, scheme: str) -> float:
    """The share of the held-out part that `run` gets right under `scheme`."""
    bundle = run.with_name(f"{run.name}-{scheme}.edge")
    if not bundle.is_file():
        edgepress("convert", run, "--quantize", scheme, "--out", bundle)
    return float(edgepress("evaluate", bundle, "--data", data)["top1"])


def measure(study: Study, *, data: str, seed: int, out: Path) -> list[dict]:
    """One row for each way and budget: held-out accuracy, what was trained, and the probe of the encoder."""
    common = ("--data", data, "--seed", seed)
    encoders = {
        name: run_of("pretrain", study, out / f"{name}-{seed}", *flags, *common)
        for name, flags in (list(study.encoders.items())[: 1 if study.tunes else None])
    }
    ways: dict[str, tuple] = {} if study.tunes else {"scratch": ()}
    ways |= {name: ("--init", run) for name, run in encoders.items()} if not study.tunes else {}
    first = next(iter(encoders.values()))
    ways |= {tune: ("--init", first, "--tune", tune) for tune in study.tunes}
    rows = []
    for budget, labels in study.budgets.items():
        for way, words in ways.items():
            name = f"{way}-{budget}-{seed}".replace(":", "").replace("%", "").replace(" ", "-")
            run = run_of("train", study, out / name, *study.taught, *labels, *words, *common)
            told = json.loads((run / "run.json").read_text(encoding="utf-8"))["metrics"]
            row = {"seed": seed, "budget": budget, "way": way, "trained_params": told["trained_params"]}
            row |= {scheme: judged(run, data, scheme) for scheme in ("float32", "int8")}
            if study.compress:
                small = out / f"{name}-small"
                if not (small / "run.json").is_file():
                    edgepress("compress", run, "--recipe", study.compress, "--out", small)
                row["compressed"] = judged(small, data, "int8")
            rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument("--data", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    study = STUDIES[arguments.study]
    rows = [
        row for seed in arguments.seeds for row in measure(study, data=arguments.data, seed=seed, out=arguments.out)
    ]
    for budget, way in dict.fromkeys((row["budget"], row["way"]) for row in rows):
        found = [row for row in rows if (row["budget"], row["way"]) == (budget, way)]
        told = ", ".join(
            f"{key} {100 * statistics.mean(row[key] for row in found):.2f} %"
            for key in ("float32", "int8", "compressed")
            if key in found[0]
        )
        print(f"{budget} {way}: {told}; {found[0]['trained_params']:,} weights trained", file=sys.stderr)
    print(json.dumps({"study": arguments.study, "rows": rows}))


if __name__ == "__main__":
    main()
