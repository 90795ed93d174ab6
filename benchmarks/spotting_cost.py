"""What a stream costs: CPU seconds for a second of audio, ours beside microWakeWord and openWakeWord, taken in turn.

    python benchmarks/spotting_cost.py X.edge [--audio FILE] [--seconds 30] [--repeats 7]

Everything is counted, from int16 samples in chunks of 80 ms to decisions; one thread each. The peers are the packages
pymicro-wakeword and pyopen-wakeword with their own model of "alexa". Without `--audio` they hear noise, which costs
the same. The last line on stdout is JSON: the median of each, and the median of the ratios taken within a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgepress_runtime import audio
from edgepress_runtime.bundle import open_bundle
from edgepress_runtime.engine import open_engine
from edgepress_runtime.spot import Spotter

RATE_HZ = 16_000
CHUNK = 1280

Listen = Callable[[np.ndarray], None]  # one chunk, (1280,) int16


def ours(path: Path) -> Listen:
    bundle = open_bundle(path)
    spotter = Spotter(open_engine(bundle.model_source, threads=1), bundle.manifest)

    def listen(chunk: np.ndarray) -> None:
        spotter.push(chunk)

    return listen


def microwakeword() -> Listen:
    from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

    spotter, front_end = MicroWakeWord.from_builtin(Model.ALEXA), MicroWakeWordFeatures()

    def listen(chunk: np.ndarray) -> None:
        for features in front_end.process_streaming(chunk.tobytes()):
            spotter.process_streaming(features)

    return listen


def openwakeword() -> Listen:
    from pyopen_wakeword import Model, OpenWakeWord, OpenWakeWordFeatures

    spotter, front_end = OpenWakeWord.from_builtin(Model.ALEXA), OpenWakeWordFeatures.from_builtin()

    def listen(chunk: np.ndarray) -> None:
        for features in front_end.process_streaming(chunk.tobytes()):
            for _ in spotter.process_streaming(features):
                pass

    return listen


def cost(listen: Listen, samples: np.ndarray) -> float:
    """CPU seconds of this process for a second of audio."""
    begin = time.process_time()
    for start in range(0, len(samples), CHUNK):
        listen(samples[start : start + CHUNK])
    return (time.process_time() - begin) / (len(samples) / RATE_HZ)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--audio", type=Path)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    count = round(args.seconds * RATE_HZ) // CHUNK * CHUNK
    if args.audio:
        samples = np.resize(audio.load(args.audio, RATE_HZ), count)
    else:
        samples = np.random.default_rng(0).normal(0, 1000, count).astype(np.int16)
    listeners = {"edgepress": ours(args.bundle), "microwakeword": microwakeword(), "openwakeword": openwakeword()}
    found: dict[str, list[float]] = {name: [] for name in listeners}
    for listen in listeners.values():  # warm
        cost(listen, samples[: 50 * CHUNK])
    for turn in range(args.repeats):
        # Whoever comes first changes, since the others' caches are his.
        names = list(listeners)[turn % 3 :] + list(listeners)[: turn % 3]
        for name in names:
            part = samples if name != "openwakeword" else samples[: len(samples) // 3 // CHUNK * CHUNK]
            found[name].append(cost(listeners[name], part))
    ratios = {
        f"to_{peer}": statistics.median(a / b for a, b in zip(found["edgepress"], found[peer], strict=True))
        for peer in ("microwakeword", "openwakeword")
    }
    medians = {name: statistics.median(values) for name, values in found.items()}
    print(json.dumps({"cpu_s_per_audio_s": medians, "ratio": ratios, "repeats": args.repeats}))


if __name__ == "__main__":
    main()
