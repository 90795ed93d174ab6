"""What converting a keyword spotter needs: the RUN's examples, the streaming model, golden steps, and thresholds."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgepress_convert import bundle, calibrate, flatbuffer, quantize, streaming
from edgepress_convert.convert import ConvertConfig, Finished
from edgepress_convert.examples import Examples
from edgepress_convert.golden_stream import golden_stream
from edgepress_convert.importers import Source
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import quantize as to_stored
from edgepress_runtime.manifest import DetectionSpec
from edgepress_train.progress import Progress

FALSE_ALARMS_PER_HOUR = 0.5
SMOOTHING_MS = 200.0  # about as long as a word stays whole in the window
# A net that heard synthetic voices alone answers people less evenly; on real clips of the word these found more of them
# at every rate of false alarms (benchmarks/README.md)
SYNTHETIC_SMOOTHING_MS = 400.0
REFRACTORY_MS = 1000.0
_CANDIDATES = 32  # streams that the golden one is made from
_MORE_STEPS = 8  # of the golden stream, beyond those that fill the window
_PROVEN_WINDOWS = 4  # that the stream must score as the whole-window model does
_MAX_FLOAT_ERROR = 1e-4  # kernels add floats in another order when there are fewer rows


def check(config: ConvertConfig) -> None:
    if config.quantize == "dynamic":
        raise EdgepressError(
            "dynamic measures the range of a whole window, and a stream has none",
            "use --quantize int8, int16x8, float16 or float32",
        )
    if config.false_alarms_per_hour is not None and not 0 < config.false_alarms_per_hour <= 1000:
        raise EdgepressError(
            f"--false-alarms-per-hour is {config.false_alarms_per_hour:g}, but must be above 0 and at most 1000"
        )


def representative(source: Source, config: ConvertConfig, progress: Progress) -> tuple[np.ndarray, Mapping[str, Any]]:
    """Windows of the training part that the RUN kept, and the account of them for the recipe."""
    features, labels = _examples(source, "train")
    chosen = quantize.stratified(labels, config.calibration_size, seed=config.seed)
    data = source.recipe.get("data", {})
    account = {
        "source": data.get("name"),
        "split": "train",
        "fingerprint": data.get("fingerprint"),
        "size": len(chosen),
        "seed": config.seed,
    }
    return _real(features[chosen]), account


def held(source: Source, config: ConvertConfig, progress: Progress) -> Examples:
    """Windows of the validation part that the RUN kept."""
    features, labels = _examples(source, "val")
    if not len(features):
        raise EdgepressError(
            f"{source.folder} has no validation windows, so nothing can be verified", "train with --val-fraction 0.15"
        )
    return Examples(features, _real, labels, "windows")


def finish(model: bytes, held: Examples, source: Source, config: ConvertConfig, progress: Progress) -> Finished:
    """The streaming form of the whole-window `model`, with thresholds chosen on the RUN's validation sound."""
    streamed = streaming.stream(model)
    facts = streaming.facts(flatbuffer.graphs(streamed)[0])
    detection = DetectionSpec(
        window_frames=held.stored.shape[1],
        smoothing_ms=smoothing_ms(source) if config.smoothing_ms is None else config.smoothing_ms,
        refractory_ms=REFRACTORY_MS if config.refractory_ms is None else config.refractory_ms,
    )
    steps = prove(model, streamed, held)
    per_hour = FALSE_ALARMS_PER_HOUR if config.false_alarms_per_hour is None else config.false_alarms_per_hour
    if facts is None:
        raise EdgepressError("the model keeps nothing from step to step, so it hears one frame at a time")
    spotting = calibrate.on_sound(streamed, source, detection, per_hour, progress) or calibrate.on_windows(
        model, held, source
    )
    return Finished(
        model=streamed,
        golden=golden(streamed, held, config.seed),
        thresholds=spotting["thresholds"],
        detection=detection,
        metrics={"spotting": spotting},
        recipe={
            "stream": {"step_frames": facts.step_frames, "states": len(facts.states), "state_bytes": facts.state_bytes,
                       "steps_compared": steps},
        },
    )  # fmt: skip


def smoothing_ms(source: Source) -> float:
    """Over how long the scores of `source` are averaged, unless the user says."""
    spoken = source.recipe.get("data", {}).get("source") == "synthetic speech"
    return SYNTHETIC_SMOOTHING_MS if spoken else SMOOTHING_MS


def prove(model: bytes, streamed: bytes, held: Examples) -> int:
    """Compare the stream with the whole-window model on the windows that end with its steps; how many were compared.

    Raises EdgepressError when one differs: integers to the bit, floats by 1e-4.
    """
    with open_engine(model) as whole:
        source, length = whole.inputs[0], whole.inputs[0].shape[1]
        frames = to_stored(held.take(np.arange(min(_PROVEN_WINDOWS, len(held)))), source)
        frames = frames.reshape(-1, *frames.shape[2:])
        step = flatbuffer.specs(graph := flatbuffer.graphs(streamed)[0], graph.inputs)[0].shape[1]
        frames = frames[: len(frames) // step * step]
        (rows,) = streaming.run(streamed, frames.reshape(1, -1, step, *frames.shape[1:]))
        ends = [(n, (n + 1) * step) for n in range(len(rows)) if (n + 1) * step >= length]
        worst = 0.0
        for n, end in ends:
            expected = whole.run(frames[np.newaxis, end - length : end])[0][0]
            worst = max(worst, float(np.abs(rows[n].astype(np.float64) - expected).max()))
    if worst > (_MAX_FLOAT_ERROR if rows.dtype.kind == "f" else 0):
        raise EdgepressError(
            f"the streaming model's scores are not those of the whole window: they differ by up to {worst:g}",
            "this is a fault of the conversion: report the model's layers",
        )
    return len(ends)


def golden(streamed: bytes, held: Examples, seed: int) -> bundle.Golden:
    """The first steps of one stream of validation windows: enough to fill the window, and a few more."""
    graph = flatbuffer.graphs(streamed)[0]
    source = flatbuffer.specs(graph, graph.inputs)[0]
    window, step = held.stored.shape[1], source.shape[1]
    count = -(-window // step) + _MORE_STEPS
    following = np.arange(-(-count * step // window))  # windows, one behind the other
    labels = held.labels if held.labels is not None else np.zeros(len(held), np.int64)
    streams = []
    for first in quantize.interleaved(labels, _CANDIDATES, seed=seed):
        frames = to_stored(held.take((first + following) % len(held)), source)
        streams.append(frames.reshape(-1, *frames.shape[2:])[: count * step].reshape(count, *source.shape[1:]))
    return golden_stream(streamed, np.stack(streams))


def _examples(source: Source, part: str) -> tuple[np.ndarray, np.ndarray]:
    """(features (n, frames, features), labels (n,)) that the RUN kept of one part. Raises EdgepressError."""
    if source.folder is None:
        raise EdgepressError("a keyword spotter is converted from a RUN folder", "train it with edgepress train speech")
    path = source.folder / "features.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            features, labels = arrays[f"{part}_features"], arrays[f"{part}_labels"]
    except FileNotFoundError:
        raise EdgepressError(f"{path} is missing", "train again") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise EdgepressError(f"{path} cannot be read: {error}", "train again") from None
    shape = tuple(source.model.inputs[0].shape)[1:3] if source.model is not None else features.shape[1:]
    if features.ndim != 3 or features.shape[1:] != shape or labels.shape != features.shape[:1]:
        raise EdgepressError(
            f"{path} holds {part} features of {list(features.shape)}, the model takes {list(shape)}", "train again"
        )
    return features, labels


def _real(features: np.ndarray) -> np.ndarray:
    """(n, frames, features) as stored -> (n, frames, features, 1) float32."""
    return features.astype(np.float32)[..., np.newaxis]
