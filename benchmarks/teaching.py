"""Teaching on the board: a class is held out of training, then taught from 5 photos of it.

    python benchmarks/teaching.py cifar10 --data cifar10 --held deer,frog,bird --out studies
    python benchmarks/teaching.py photos --data photos --out studies

`cifar10`: an unpacked copy with train/ and test/; the whole ImageNet-trained EfficientNet-Lite0 is fine-tuned for
three epochs on 1,500 pictures of each of the nine other classes. `photos`: any folder of class folders; the same net,
of which only the classifier is trained. Then for each held-out class and each of `--draws` draws of 5 photos the very
command of the board runs in its own process, with its time and memory. Figures are of test pictures that no step saw:
`recall` of the new class, and points of accuracy that the old classes lost, by the int8 bundle before and after.

Each step is a command that a user would type; what is finished is not repeated. The last line on stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress_runtime import overlay
from edgepress_runtime.bundle import Bundle, open_bundle
from edgepress_runtime.classify import Classifier, embedder
from edgepress_runtime.engine import open_engine
from edgepress_runtime.image import SUFFIXES, load_pixels

MOST_TRAIN, MOST_TEST = 1500, 300  # pictures of each class
_PROBE = (
    "import json, sys, time\n"
    "begin = time.monotonic()\n"
    "from edgepress_runtime.cli import main\n"
    "code = main(sys.argv[1:])\n"
    "heavy = sorted(m for m in sys.modules if '.' not in m and m not in sys.stdlib_module_names)\n"
    # getrusage would give the peak of the process that this one was forked from
    "peak = int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024\n"
    "print(json.dumps({'seconds': time.monotonic() - begin, 'cpu_s': time.process_time(), "
    "'peak_rss_mb': peak, 'modules': heavy}))\n"
    "sys.exit(code)\n"
)


@dataclass(frozen=True)
class Study:
    """How the old classes are trained, and how the pictures of a folder are parted if it does not say."""

    train: tuple[str, ...]
    fewest: int  # pictures that a class needs to be held out


STUDIES = {
    "cifar10": Study(("--recipe", "cifar10-teacher", "--epochs", "3", "--val-fraction", "0.1"), 100),
    "photos": Study(
        ("--arch", "efficientnet-lite0", "--init", "efficientnet-lite0", "--normalize", "unit", "--size", "224",
         "--fit", "pad", "--tune", "head", "--epochs", "15", "--batch", "16", "--lr", "3e-3", "--augment", "flip-h",
         "--val-fraction", "0.3"),
        10,
    ),
}  # fmt: skip


def edgepress(*words: object) -> dict:
    """Run one command of the kit with `--json`; its progress goes to our stderr."""
    command = [sys.executable, "-m", "edgepress_convert.cli.app", *map(str, words), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"failed: edgepress {' '.join(map(str, words))}")
    return json.loads(done.stdout)


def pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)


def parts(data: Path, label: str, *, seed: int) -> tuple[list[Path], list[Path]]:
    """(for training, for testing) of one class: as the folder says, else two thirds and one third."""
    if (data / "train").is_dir():
        return pictures(data / "train" / label)[:MOST_TRAIN], pictures(data / "test" / label)[:MOST_TEST]
    found = np.random.default_rng(seed).permutation(np.array(pictures(data / label), object)).tolist()
    return found[len(found) // 3 :], found[: len(found) // 3]


def bundle_without(held: str, study: Study, labels: list[str], data: Path, out: Path) -> Path:
    """The teachable bundle of all classes but `held`."""
    folder, run, bundle = out / f"data-{held}", out / f"run-{held}", out / f"without-{held}.edge"
    if not folder.is_dir():
        partial = folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        for label in labels:
            train, test = parts(data, label, seed=0)
            for part, paths in (("train", train), ("test", test)) if label != held else ():
                target = partial / part / label
                target.mkdir(parents=True)
                for number, path in enumerate(paths):
                    shutil.copyfile(path, target / f"{number:05d}{path.suffix}")
        partial.rename(folder)
    if not (run / "run.json").is_file():
        edgepress("train", "image", "--data", folder, *study.train, "--out", run, "--resume")
    if not bundle.is_file():
        edgepress("convert", run, "--teachable", "--max-drop", "5", "--out", bundle)
    return bundle


def teach(bundle: Path, label: str, photos: list[Path], file: Path) -> dict:
    """`edgepress-device teach` in its own process: what it says, with seconds, memory and modules of that process."""
    words = ["teach", bundle, "--name", label, *photos, "--out", file, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, *map(str, words)], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"failed: edgepress-device {' '.join(map(str, words))}")
    said, probed = map(json.loads, done.stdout.splitlines())
    return {**said, **probed}


def seen(bundle: Bundle, paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """(answers (n,) of the bundle, embeddings (n, d)) for pictures."""
    with open_engine(bundle.model_source, threads=1) as engine:
        classifier, embed = Classifier(engine, bundle.manifest), embedder(engine, bundle.manifest)
        spec = bundle.manifest.preprocessing
        pixels = [load_pixels(path, spec) for path in paths]
        return np.array([classifier.classify(p).index for p in pixels]), np.concatenate([embed(p) for p in pixels])


def measure(held: str, study: Study, labels: list[str], data: Path, out: Path, draws: int) -> list[dict]:
    """One row a draw of 5 photos."""
    path = bundle_without(held, study, labels, data, out)
    bundle = open_bundle(path)
    train, test = parts(data, held, seed=0)
    old = [(p, label) for label in bundle.manifest.labels for p in parts(data, label, seed=0)[1]]
    truth = np.array([bundle.manifest.labels.index(label) for _, label in old])
    answers, embeddings = seen(bundle, [p for p, _ in old])
    _, pool = seen(bundle, train + test)
    before = float((answers == truth).mean())
    rng, rows = np.random.default_rng(0), []
    for draw in range(draws):
        # A class without a test part of its own lends all that are not taught to the test.
        everything = train + test
        chosen = rng.choice(len(train) if (data / "train").is_dir() else len(everything), 5, replace=False)
        judged = np.arange(len(train), len(everything)) if (data / "train").is_dir() else np.arange(len(everything))
        judged = np.setdiff1d(judged, chosen)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "x.taught"
            said = teach(path, held, [everything[i] for i in chosen], file)
            taught = overlay.read(file)
        assert taught is not None
        new = taught.head.logits(pool[judged]).argmax(axis=1)
        after = float((taught.head.logits(embeddings).argmax(axis=1) == truth).mean())
        rows.append(
            {
                "held": held,
                "draw": draw,
                "recall": float((new == len(bundle.manifest.labels)).mean()),
                "n_new": len(judged),
                "before": before,
                "lost_points": 100 * (before - after),
                "n_old": len(truth),
                "said_found": said["new"]["found"],
                "said_old": said["old"],
                **{key: said[key] for key in ("seconds", "cpu_s", "peak_rss_mb", "modules")},
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=sorted(STUDIES))
    parser.add_argument(
        "--data", type=Path, required=True, help="folder of class folders, perhaps below train/ and test/"
    )
    parser.add_argument(
        "--held", default="", help="classes to hold out, with commas between (default: all that can be)"
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("studies"))
    arguments = parser.parse_args()
    study, data = STUDIES[arguments.study], arguments.data
    root = data / "train" if (data / "train").is_dir() else data
    labels = sorted(p.name for p in root.iterdir() if p.is_dir())
    held = arguments.held.split(",") if arguments.held else [
        label for label in labels if len(pictures(root / label)) >= study.fewest
    ]  # fmt: skip
    out = arguments.out / f"teaching-{arguments.study}"
    out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows: list[dict] = []
    for label in held:
        mine = measure(label, study, labels, data, out, arguments.draws)
        rows += mine
        print(_line(label, mine), file=sys.stderr, flush=True)
    print(_line("mean", rows), file=sys.stderr)
    print(json.dumps({"study": arguments.study, "rows": rows}))


def _line(name: str, rows: list[dict]) -> str:
    mean = {
        key: float(np.mean([row[key] for row in rows]))
        for key in ("recall", "before", "lost_points", "seconds", "cpu_s")
    }
    peak = max(row["peak_rss_mb"] for row in rows)
    cost = f"{mean['seconds']:.2f} s ({mean['cpu_s']:.2f} s of processor), {peak:.0f} MB at peak"
    return (
        f"{name}: recall {100 * mean['recall']:.1f} %, old classes {100 * mean['before']:.1f} % before, "
        f"{mean['lost_points']:.2f} points lost; {cost} ({len(rows)} draws)"
    )


if __name__ == "__main__":
    main()
