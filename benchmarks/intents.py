"""Intents of orders from five labelled examples each: with pretraining on plain text and without, float and int8.

    python benchmarks/intents.py --seeds 0 1 2

The orders are those of `intent_grammar`. Labelled: `--shots` of every intent. Plain text: orders of the same phrasings,
other ones, without labels (`--orders` of every intent), or the files of `--text`. Test: 60 of every intent, of
phrasings that occur in neither.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from intent_grammar import orders

LENGTH = 24  # an order has 7 pieces on average
TESTED, WATCHED = 60, 20  # of every intent: the test, and what the int8 gate looks at
TEST_SEED, PLAIN_SEED, VAL_SEED = 90_000, 50_000, 70_000


def write(path: Path, rows: Sequence[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("text", "label"))
        table.writerows(rows)


def data(folder: Path, seed: int, shots: int, count: int) -> tuple[Path, Path]:
    """(folder of train, val and test, file of plain text) for one seed; the test is the same for all."""
    folder.mkdir(parents=True)
    labelled = folder / "labelled"
    labelled.mkdir()
    write(labelled / "train.csv", orders(shots, test=False, rng=np.random.default_rng(seed)))
    write(labelled / "val.csv", orders(WATCHED, test=False, rng=np.random.default_rng(VAL_SEED + seed)))
    write(labelled / "test.csv", orders(TESTED, test=True, rng=np.random.default_rng(TEST_SEED)))
    plain = folder / "plain.txt"
    texts = [text for text, _ in orders(count, test=False, rng=np.random.default_rng(PLAIN_SEED + seed))]
    plain.write_text("\n".join(texts) + "\n", encoding="utf-8")
    return labelled, plain


def judged(labelled: Path, out: Path, init: str, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train, convert, and judge on the test: float model, int8 bundle, bytes."""
    from edgepress_convert.convert import ConvertConfig, convert
    from edgepress_convert.evaluate import evaluate
    from edgepress_train import run, train_text
    from edgepress_train.config_text import TextConfig
    from edgepress_train.data.text import open_texts

    config = TextConfig(
        data=str(labelled), out=out, init=init, length=LENGTH, epochs=args.epochs, batch=args.batch, seed=seed
    )
    trained = train_text.train(config)
    test = open_texts(str(labelled)).splits["test"]
    ids = train_text.tokenizer_of(trained)[0].encode_all(test.texts)
    answers = run.load_model(trained).predict(ids, verbose=0).argmax(axis=1)
    made = convert(ConvertConfig(out, out.with_suffix(".edge"), max_drop=100.0))
    found = evaluate(out.with_suffix(".edge"), str(labelled))
    return {
        "n": found.n,
        "float": float((answers == test.labels).mean()),
        "int8": found.top1,
        "bytes": made.bytes,
        "bundle_bytes": made.bundle_bytes,
    }


def one(seed: int, args: argparse.Namespace, root: Path) -> dict[str, Any]:
    """Both trainings of one seed."""
    from edgepress_train.config_text import PretrainTextConfig
    from edgepress_train.pretrain import text as pretraining

    begin = time.monotonic()
    labelled, plain = data(root / str(seed), seed, args.shots, args.orders)
    words = root / str(seed) / "words"
    learned = pretraining.train(
        PretrainTextConfig(
            data=args.text or str(plain), out=words, length=LENGTH, epochs=args.pretrain_epochs, seed=seed
        )
    )
    row = {
        "seed": seed,
        "lines": learned.data["counts"]["lines"],
        "masked": learned.metrics["val"],
        "scratch": judged(labelled, root / str(seed) / "scratch", "", args, seed),
        "pretrained": judged(labelled, root / str(seed) / "pretrained", str(words), args, seed),
        "seconds": round(time.monotonic() - begin),
    }
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    about, _, usage = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=about, epilog=usage, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--shots", type=int, default=5, help="labelled examples of every intent")
    parser.add_argument("--orders", type=int, default=1200, help="plain orders of every intent to pretrain on")
    parser.add_argument("--text", help="other plain text to pretrain on: a file, or a folder of .txt and .md")
    parser.add_argument("--pretrain-epochs", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=12)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        rows = [one(seed, args, Path(root)) for seed in args.seeds]
    for kind in ("scratch", "pretrained"):
        for column in ("float", "int8"):
            values = [100 * row[kind][column] for row in rows]
            listed = ", ".join(f"{value:.1f}" for value in values)
            print(f"{kind:<10} {column:<5} {np.mean(values):5.1f} %  ({listed})")
        print(f"{kind:<10} model {max(row[kind]['bytes'] for row in rows):,} bytes")
    gains = [100 * (row["pretrained"]["int8"] - row["scratch"]["int8"]) for row in rows]
    drops = [100 * (row[kind]["float"] - row[kind]["int8"]) for row in rows for kind in ("scratch", "pretrained")]
    print(f"gain of pretraining, int8: {np.mean(gains):+.1f} points; largest drop to int8: {max(drops):.2f} points")


if __name__ == "__main__":
    main()
