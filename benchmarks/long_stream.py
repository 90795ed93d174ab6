"""Hours of stream, faster than real time: is memory flat, and are the numbers at the end those of a fresh start?

    python benchmarks/long_stream.py X.edge --audio DIR [--hours 10]

DIR is any folder of sound; its files are played in random order at random gains until the hours are full. At the end
the features of the last minute, and the scores of its last half, must equal to the bit those of a front end and a
spotter that were started where that minute begins. The last line on stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgepress_runtime import audio
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.engine import open_engine
from edgepress_runtime.features import FrontEnd
from edgepress_runtime.spot import Spotter

CHUNK_S = 0.08
LAST_S = 60


def played(files: list[Path], rate_hz: int, total: int) -> Iterator[np.ndarray]:
    """Chunks of 80 ms, `total` samples in all."""
    rng = np.random.default_rng(0)
    chunk = round(CHUNK_S * rate_hz)
    waiting = np.zeros(0, np.int16)
    given = 0
    while given < total:
        while len(waiting) < chunk:
            samples = audio.load(files[int(rng.integers(len(files)))], rate_hz)
            waiting = np.concatenate((waiting, (samples * rng.uniform(0.1, 1.0)).astype(np.int16)))
        part, waiting = waiting[:chunk][: total - given], waiting[chunk:]
        given += len(part)
        yield part


def rss_mb() -> float:
    """Resident memory of this process now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=10)
    args = parser.parse_args()
    bundle = open_bundle(args.bundle)
    spec = bundle.manifest.preprocessing
    files = sorted(path for path in args.audio.rglob("*") if path.suffix.lower() in audio.SUFFIXES)
    step = bundle.manifest.inputs[0].shape[1] * spec.hop  # a fresh stream must begin with a whole step
    total = round(args.hours * 3600 * spec.rate_hz) // step * step
    begin = total - round(LAST_S * spec.rate_hz) // step * step
    long = Spotter(open_engine(bundle.model_source, threads=1), bundle.manifest)
    front_end = FrontEnd(spec)
    last: list[np.ndarray] = []
    frames: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    memory: list[float] = []
    seen, started, hour = 0, time.process_time(), round(3600 * spec.rate_hz)
    for part in played(files, spec.rate_hz, total):
        if seen + len(part) > begin:
            cut = part[max(0, begin - seen) :]
            last.append(cut)
        frames.append(front_end.push(part))
        scores.append(long.scores(part))
        keep = round(LAST_S * spec.rate_hz / spec.hop)
        if sum(map(len, frames)) > 4 * keep:
            frames, scores = [np.concatenate(frames)[-2 * keep :]], [np.concatenate(scores)[-2 * keep :]]
        if seen // hour != (seen + len(part)) // hour or not seen:
            memory.append(round(rss_mb(), 1))
        seen += len(part)
    cpu_s = time.process_time() - started
    fresh = FrontEnd(spec).push(np.concatenate(last))
    again = Spotter(open_engine(bundle.model_source, threads=1), bundle.manifest).scores(np.concatenate(last))
    half = len(again) // 2
    print(
        json.dumps(
            {
                "hours": args.hours,
                "features_equal": bool(np.array_equal(np.concatenate(frames)[-len(fresh) :], fresh)),
                "scores_equal": bool(np.array_equal(np.concatenate(scores)[-half:], again[-half:])),
                "rss_mb_each_hour": memory,
                "cpu_s_per_audio_s": cpu_s / (total / spec.rate_hz),
            }
        )
    )


if __name__ == "__main__":
    main()
