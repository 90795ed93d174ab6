"""The way from a trained model to a proven bundle: import, quantize, verify, pack."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_convert import bundle, flatbuffer, importers, quantize, tflite, verify
from edgepress_convert.importers import Hints, Source
from edgepress_convert.importers.source import bundle_name
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import normalize
from edgepress_runtime.image import quantize as to_stored
from edgepress_runtime.manifest import ImageSpec
from edgepress_train import run
from edgepress_train.progress import Progress, silent

MAX_VERIFIED = 5000  # validation pictures that the comparison runs on; its standard error is then below 0.7 points
_CANDIDATES = 8 * bundle.GOLDEN_CASES  # of which those are taken that every kernel answers alike


@dataclass(frozen=True)
class ConvertConfig:
    """One conversion. `quantize` is a name in `quantize.SCHEMES`; None means int8, and as it is for a .tflite.

    `calibration_size`: representative training pictures. `max_drop`: points of validation accuracy that may be lost.
    `weights`: one of `quantize.WEIGHTS`. `name`: the bundle's, None for the source's own.
    """

    source: Path
    out: Path
    quantize: str | None = None
    name: str | None = None
    calibration_size: int = 200
    seed: int = 0
    max_drop: float = 2.0
    weights: str = "per-channel"
    force: bool = False
    hints: Hints = field(default_factory=Hints)


@dataclass(frozen=True)
class Converted:
    """What `convert` made. The fields are the keys of `--json`; `bytes` is the model's size, `bundle_bytes` the file's.

    `parity` is None for a .tflite, which has no original to compare with; without data it is made on noise, and says
    nothing about accuracy.
    """

    bundle: str
    name: str
    quantize: str
    bytes: int
    bundle_bytes: int
    parity: dict[str, Any] | None
    model: dict[str, Any]
    golden: dict[str, int]
    recipe: dict[str, Any]


@dataclass(frozen=True)
class _Held:
    """Pictures outside of training: `pixels` (n, height, width, channels) uint8, `labels` (n,) or None when made up."""

    pixels: np.ndarray
    labels: np.ndarray | None


def convert(config: ConvertConfig, *, progress: Progress = silent) -> Converted:
    """Make the bundle `config.out`. Raises EdgepressError; nothing is then written."""
    bundle.refuse_existing(config.out, force=config.force)
    if config.calibration_size < 1:
        raise EdgepressError(f"--calibration-size is {config.calibration_size}, but must be 1 or more")
    if config.quantize is not None:
        quantize.scheme(config.quantize)
    if config.name is not None and bundle_name(config.name) != config.name:
        raise EdgepressError(
            f"{config.name!r} cannot be a bundle's name, since boards use it as a folder's",
            f"use letters, digits, '.', '_' and '-', at most 64: --name {bundle_name(config.name)}",
        )
    progress("convert", 0, 4, "reading the model")
    source = importers.read(config.source, config.hints)
    held = _held(source, config.seed, progress)
    if source.tflite is not None:
        if config.quantize is not None or config.weights != "per-channel":
            raise EdgepressError(
                f"{config.source} is converted already and is packed as it is", "leave --quantize and --per-tensor out"
            )
        scheme, model, parity = "as-is", source.tflite, None
        story: dict[str, Any] = {"quantize": {"scheme": scheme}}
    else:
        scheme = config.quantize or "int8"
        model, parity, story = _from_keras(source, scheme, config, held, progress)
    progress("convert", 3, 4, "packing")
    golden = _golden(model, held, source.preprocessing, config.seed)
    recipe = {**source.recipe, **story}
    name = config.name or source.name
    bundle.pack(
        config.out,
        model,
        name=name,
        task=source.task,
        labels=source.labels,
        preprocessing=source.preprocessing,
        golden=golden,
        created=run.now(),
        metrics=_metrics(source, parity),
        recipe=recipe,
        tools=tools(),
        force=config.force,
    )
    progress("convert", 4, 4, "done")
    return Converted(
        bundle=str(config.out),
        name=name,
        quantize=scheme,
        bytes=len(model),
        bundle_bytes=config.out.stat().st_size,
        parity=None if parity is None else verify.as_json(parity),
        model=asdict(tflite.facts(model)),
        golden={"cases": len(golden.inputs), "stable": golden.stable},
        recipe=recipe,
    )


def tools() -> dict[str, str]:
    """Versions of everything that shapes the bundle."""
    return {**run.versions(), "ai-edge-litert": importlib.metadata.version("ai-edge-litert")}


def _from_keras(
    source: Source, scheme: str, config: ConvertConfig, held: _Held, progress: Progress
) -> tuple[bytes, verify.Parity | None, dict[str, Any]]:
    representative, calibration = None, None
    if quantize.SCHEMES[scheme].representative:
        representative, calibration = _representative(source, config, progress)
    progress("convert", 1, 4, f"converting to {scheme}")
    # The float32 twin is what the comparison layer by layer needs.
    schemes = tuple(dict.fromkeys(("float32", scheme)))
    made = quantize.convert(source.model, schemes, representative=representative, weights=config.weights)
    progress("convert", 2, 4, "comparing with the original")
    story = {"quantize": quantize.describe(scheme, config.weights, calibration)}
    parity = verify.compare(
        source.model,
        made[scheme],
        reference=made["float32"],
        pixels=held.pixels,
        labels=held.labels,
        preprocessing=source.preprocessing,
    )
    verify.gate(parity, config.max_drop, scheme=scheme, remedies=_remedies(scheme, config))
    if scheme in ("float32", "float16"):
        verify.gate_scores(parity, scheme=scheme)
    return made[scheme], parity, story


def _representative(source: Source, config: ConvertConfig, progress: Progress) -> tuple[np.ndarray, Mapping[str, Any]]:
    """Normalised pictures of the training part, and the account of them for the recipe."""
    from edgepress_train.data.pixels import load_split

    if source.dataset is None:
        raise EdgepressError(
            f"{config.source} comes without data, and {config.quantize or 'int8'} needs example pictures",
            "give --data DIR|NAME, or use --quantize dynamic, float16 or float32",
        )
    split = source.dataset.splits["train"]
    chosen = split.take(quantize.stratified(split.labels, config.calibration_size, seed=config.seed))
    pixels, kept, _ = load_split(chosen, source.preprocessing, progress=progress)
    account = {
        "source": source.dataset.name,
        "split": "train",
        "fingerprint": source.dataset.fingerprint,
        "size": len(kept),
        "seed": config.seed,
    }
    return normalize(_full_range(pixels), source.preprocessing), account


def _full_range(pixels: np.ndarray) -> np.ndarray:
    """`pixels` (n, height, width, channels) uint8 with a black and a white corner pixel in the first picture.

    The calibrator sees only the pictures it is given, and a darker or brighter one on the board would be clipped. Two
    pixels stretch the input's range to all 256 values and leave every other range alone; an int8 input then stores
    `pixel - 128`, which costs the board nothing.
    """
    stretched = np.array(pixels)
    stretched[0, 0, 0], stretched[0, -1, -1] = 0, 255
    return stretched


def _held(source: Source, seed: int, progress: Progress) -> _Held:
    """Validation pictures; without data, noise, which is enough for golden cases and for nothing else."""
    spec = source.preprocessing
    if source.dataset is None:
        shape = (_CANDIDATES, spec.height, spec.width, spec.channels)
        return _Held(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), None)
    from edgepress_train.data.pixels import load_split

    split = source.dataset.splits["val"]
    if not len(split):
        raise EdgepressError(
            f"{source.dataset.name} has no validation part, so nothing can be verified",
            "train with --val-fraction 0.15",
        )
    split = split.take(quantize.stratified(split.labels, MAX_VERIFIED, seed=seed))
    pixels, kept, _ = load_split(split, spec, progress=progress)
    return _Held(pixels, kept.labels)


def _golden(model: bytes, held: _Held, spec: ImageSpec, seed: int) -> bundle.Golden:
    labels = held.labels if held.labels is not None else np.zeros(len(held.pixels), np.int64)
    graph = flatbuffer.graphs(model)[0]
    index = quantize.stratified(labels, _CANDIDATES, seed=seed)
    index = index[_interleaved(labels[index])]
    source = flatbuffer.specs(graph, graph.inputs)[0]
    return bundle.golden_cases(model, to_stored(normalize(np.asarray(held.pixels[index]), spec), source))


def _interleaved(labels: np.ndarray) -> np.ndarray:
    """An order that takes one of each class before a second of any."""
    rank = np.zeros(len(labels), np.int64)
    for value in np.unique(labels):
        places = np.flatnonzero(labels == value)
        rank[places] = np.arange(len(places))
    return np.lexsort((labels, rank))


def _metrics(source: Source, parity: verify.Parity | None) -> dict[str, Any]:
    if parity is None or source.dataset is None:
        return {}
    value = verify.as_json(parity)
    del value["layers"]
    return {"val": {**value, "data": {"name": source.dataset.name, "fingerprint": source.dataset.fingerprint}}}


def _remedies(scheme: str, config: ConvertConfig) -> str:
    ways = []
    if config.weights != "per-channel":
        ways.append("leave out --per-tensor")
    if quantize.SCHEMES[scheme].representative:
        ways.append(f"raise --calibration-size above {config.calibration_size}")
    ways += [f"use --quantize {other}" for other in ("int16x8", "dynamic", "float16") if other != scheme][:2]
    return f"{', or '.join(ways)}, or accept it with a higher --max-drop"
