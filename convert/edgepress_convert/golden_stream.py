"""Golden cases of a streaming model: the first steps of one stream, on which every kernel gives the same scores."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from edgepress_convert import bundle
from edgepress_runtime import states
from edgepress_runtime.engine import Engine, open_engine
from edgepress_runtime.errors import EdgepressError

_STARTS = 16  # streams that are tried as they are
_OTHERS = 24  # streams of which one may lend a step


def golden_stream(model: bytes, streams: np.ndarray) -> bundle.Golden:
    """Golden cases from some streams (n, steps, c, features, 1), as stored.

    A stream's scores pass through many roundings, and two kernels that differ in one bit of one state soon differ in a
    score. Where they do, the new frames of another stream are tried in that step's place, so that the cases last as
    long as the streams if they can. Of several beginnings the one is taken that lasts longest with the most different
    scores. Raises EdgepressError when the model does not run or answers with NaN.
    """
    with ExitStack() as stack:
        engines = [
            stack.enter_context(open_engine(model, threads=threads, xnnpack=xnnpack))
            for threads, xnnpack in bundle.KERNELS
        ]
        walks = [_walk(engines, streams, start) for start in range(min(_STARTS, len(streams)))]
        inputs, rows = max(walks, key=lambda walk: (len(walk[1]), len({row.tobytes() for row in walk[1]})))
        stable = len(rows)
        if not stable:  # then the first stream has to do, as this machine's kernels answer it
            inputs, rows = _alone(engines[0], streams[0])
    return bundle.Golden(np.stack(inputs), np.stack(rows), stable)


def _walk(engines: list[Engine], streams: np.ndarray, start: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Inputs and scores from the beginning of stream `start` on, for as long as all engines agree."""
    kept = [states.initial(engine.inputs, engine.outputs) for engine in engines]
    order = [start, *(i for i in range(len(streams)) if i != start)][: 1 + _OTHERS]
    inputs: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    for step in range(streams.shape[1]):
        for stream in order:
            chunk = streams[stream, step]
            answers = [engine.run(chunk[np.newaxis], *old) for engine, old in zip(engines, kept, strict=True)]
            if bundle.alike(*(answer[0] for answer in answers)).all():
                break
        else:
            break
        inputs.append(chunk)
        rows.append(answers[0][0][0])
        kept = [list(answer[1:]) for answer in answers]
    return inputs, rows


def _alone(engine: Engine, chunks: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    kept = states.initial(engine.inputs, engine.outputs)
    rows = []
    for chunk in chunks:
        row, *kept = engine.run(chunk[np.newaxis], *kept)
        rows.append(row[0])
    if not all(np.isfinite(row).all() for row in rows):
        raise EdgepressError("the model answers with NaN or infinity", "train it again, or use another scheme")
    return list(chunks), rows
