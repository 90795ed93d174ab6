"""Does `bench` tell what an independent loop measures? Both in turn, in one run, on the same model.

    python benchmarks/bench_agrees.py X.edge [--rounds 15] [--runs 300] [--threads 1]

The loop knows nothing of this project: LiteRT's own interpreter, set, invoke, get, and a clock. It is compared with
what `bench` tells of the engine (`engine_ms`); `call_over_loop` is the whole call (`latency_ms`) over the same loop,
for which `runtime_overhead.py` has its own mark. The mark here: medians at most 3 % apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgepress_runtime.bench import bench
from edgepress_runtime.bundle import open_bundle

MARK = 0.03
WARMUP = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--runs", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    bundle = open_bundle(args.bundle)
    interpreter = Interpreter(model_content=bytes(bundle.model), num_threads=args.threads)
    interpreter.allocate_tensors()
    rows = []
    for i in range(args.rounds):
        # Who goes first changes: a clock that rises or a neighbour that leaves would favour the second.
        if i % 2:
            alone = median_ms(inference(interpreter), args.runs)
            told = bench(bundle, runs=args.runs, threads=args.threads)
        else:
            told = bench(bundle, runs=args.runs, threads=args.threads)
            alone = median_ms(inference(interpreter), args.runs)
        rows.append((told.engine_ms["p50"] / alone, told.latency_ms["p50"] / alone, told.engine_ms["p50"], alone))
    engine, whole, ours, theirs = (float(np.median(column)) for column in zip(*rows, strict=True))
    result = {
        "engine_over_loop": round(engine, 4),
        "ratios": sorted(round(row[0], 4) for row in rows),
        "call_over_loop": round(whole, 4),
        "bench_engine_ms": round(ours, 4),
        "loop_ms": round(theirs, 4),
        "rounds": args.rounds,
        "runs": args.runs,
        "threads": args.threads,
        "mark": MARK,
        "met": abs(engine - 1) <= MARK,
    }
    print(json.dumps(result))
    return 0 if result["met"] else 1


def inference(interpreter: Interpreter) -> Callable[[], object]:
    """Set noise, invoke, get; a stream's states, which are all other tensors, go from the outputs to the inputs."""
    given, *taken = interpreter.get_input_details()
    answer, *left = interpreter.get_output_details()
    states = [(new["index"], old["index"]) for new, old in zip(taken, left, strict=True)]
    rng = np.random.default_rng(0)
    noise = rng.normal(size=given["shape"])
    if np.dtype(given["dtype"]).kind != "f":
        noise = np.clip(np.rint(noise * 40), -128, 127) + (128 if given["dtype"] == np.uint8 else 0)
    value = noise.astype(given["dtype"])

    def infer() -> object:
        interpreter.set_tensor(given["index"], value)
        interpreter.invoke()
        for new, old in states:
            interpreter.set_tensor(new, interpreter.get_tensor(old))
        return interpreter.get_tensor(answer["index"])

    return infer


def median_ms(call: Callable[[], object], runs: int) -> float:
    for _ in range(WARMUP):
        call()
    times = []
    for _ in range(runs):
        begin = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - begin)
    return float(np.median(times)) / 1e6


if __name__ == "__main__":
    sys.exit(main())
