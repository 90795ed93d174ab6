"""A float Keras model to .tflite bytes under one of the quantization schemes.

TensorFlow's converter can take the whole process down (a GRU asked for int8 ends in a segmentation fault), so it runs
in a child process (`converter`); whatever happens to it, the caller gets bytes or one sentence.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress_convert import flatbuffer
from edgepress_convert.compact import compact
from edgepress_convert.plan import Plan
from edgepress_runtime.errors import EdgepressError

if TYPE_CHECKING:
    from edgepress_train.keras2 import keras


class QuantizeError(EdgepressError):
    """A model that cannot be converted as asked."""


@dataclass(frozen=True)
class Scheme:
    """How numbers are stored: `weights`, `activations` and `io` (inputs and outputs) are dtypes.

    `representative`: whether example inputs are needed, to choose the range of each activation.
    """

    about: str
    weights: str
    activations: str
    io: str
    representative: bool = False


SCHEMES: dict[str, Scheme] = {
    "float32": Scheme("no quantization", "float32", "float32", "float32"),
    "float16": Scheme("half the size, computed in float", "float16", "float32", "float32"),
    "dynamic": Scheme("int8 weights, activations quantized as they come", "int8", "float32", "float32"),
    "int8": Scheme("all integer; a quarter of the size", "int8", "int8", "int8", representative=True),
    "int16x8": Scheme(
        "int8 weights, int16 activations: precise, slower", "int8", "int16", "int16", representative=True
    ),
}

# Which weights share one scale: none across channels; dense layers across all of theirs; every layer
WEIGHTS = ("per-channel", "per-tensor-dense", "per-tensor")

# What single layers of an int8 model may be stored in instead
KEPT = ("int16x8", "float16", "float32")


def scheme(name: str) -> Scheme:
    """The scheme called `name`. Raises QuantizeError with a near match."""
    if name in SCHEMES:
        return SCHEMES[name]
    near = difflib.get_close_matches(name, SCHEMES, 1)
    raise QuantizeError(
        f"unknown quantization {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        f"known: {', '.join(SCHEMES)}",
    )


def stratified(labels: np.ndarray, size: int, *, seed: int) -> np.ndarray:
    """Which examples to take: (min(size, n),) int64 indexes, sorted, every class by its share and at least once.

    With fewer places than classes, the classes that get one are chosen by `seed`, as are the examples.
    """
    rng = np.random.default_rng(seed)
    size = min(size, len(labels))
    if size <= 0:
        return np.zeros(0, np.int64)
    classes = [np.flatnonzero(labels == value) for value in np.unique(labels)]
    pools = [rng.permutation(index) for index in (classes[i] for i in rng.permutation(len(classes)))]
    # The next place goes to the class that lags most behind its share; one that has none yet lags infinitely.
    taken = [0] * len(pools)
    for _ in range(size):
        lag = [len(pool) / count if count else np.inf for pool, count in zip(pools, taken, strict=True)]
        lag = [value if count < len(pool) else -1.0 for value, pool, count in zip(lag, pools, taken, strict=True)]
        taken[int(np.argmax(lag))] += 1
    return np.sort(np.concatenate([pool[:count] for pool, count in zip(pools, taken, strict=True)]))


def interleaved(labels: np.ndarray, size: int, *, seed: int) -> np.ndarray:
    """What `stratified` takes, in an order that has one example of each class before a second of any."""
    index = stratified(labels, size, seed=seed)
    chosen = labels[index]
    rank = np.zeros(len(chosen), np.int64)
    for value in np.unique(chosen):
        places = np.flatnonzero(chosen == value)
        rank[places] = np.arange(len(places))
    return index[np.lexsort((chosen, rank))]


def convert(
    model: keras.Model,
    schemes: Sequence[str],
    *,
    representative: np.ndarray | None = None,
    weights: str = "per-channel",
) -> dict[str, bytes]:
    """`model` under each of `schemes`: .tflite bytes with a fixed batch of 1, the same for the same arguments.

    `representative`: (n, *input shape) float32, or int32 for ids, needed by the schemes that say so. `weights`: one of
    WEIGHTS. The model may be Keras 2 or 3. Raises QuantizeError for what the converter cannot do, naming the operator
    where it is one.
    """
    wanted = {name: scheme(name) for name in schemes}
    _check_weights(weights)
    if any(s.representative for s in wanted.values()) and (representative is None or not len(representative)):
        raise QuantizeError(
            f"{' and '.join(n for n, s in wanted.items() if s.representative)} needs example inputs to choose ranges",
            "give training data, or use dynamic, float16 or float32",
        )
    if len(model.inputs) != 1:
        raise QuantizeError(f"the model has {len(model.inputs)} inputs; edgepress converts models with one")
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        export(model, Path(folder) / "saved_model")
        if representative is not None:
            dtype = np.int32 if representative.dtype.kind == "i" else np.float32  # ids stay what they are
            np.save(Path(folder) / "representative.npy", representative.astype(dtype), allow_pickle=False)
        job = {"weights": weights, "schemes": {name: asdict(s) for name, s in wanted.items()}}
        (Path(folder) / "job.json").write_text(json.dumps(job), encoding="utf-8")
        _run_child(Path(folder), tuple(wanted))
        results = {name: compact((Path(folder) / f"{name}.tflite").read_bytes()) for name in wanted}
    for name, data in results.items():
        graphs = flatbuffer.graphs(data)
        foreign = flatbuffer.foreign_ops(graphs)
        if foreign:
            raise _not_native(foreign, name)
        if any(op.kind == "READ_VARIABLE" for graph in graphs for op in graph.ops):
            raise QuantizeError(
                f"TensorFlow's converter left weights out of the {name} model", "save it as .keras first"
            )
    return results


def from_plan(model: keras.Model, plan: Plan, representative: np.ndarray) -> bytes:
    """The .tflite of `model` that `plan` asks for; `representative`: (n, *input shape) float32.

    A plan of a scheme and `weights` alone is what `convert` makes. One that chooses ranges or keeps layers apart gives
    int8 inputs and outputs, too, by way of `mixed_precision`. Raises EdgepressError.
    """
    check_plan(plan)
    if plan.plain:
        needed = representative if SCHEMES[plan.scheme].representative else None
        return convert(model, (plan.scheme,), representative=needed, weights=plan.weights)[plan.scheme]
    from edgepress_convert import planned

    return compact(planned.build(planned.prepare(model, representative, layers=bool(plan.keep)), plan))


def check_plan(plan: Plan) -> None:
    """Raise EdgepressError for a plan that no model can be quantized by."""
    from edgepress_convert import activation_ranges

    scheme(plan.scheme)
    _check_weights(plan.weights)
    activation_ranges.parse(plan.ranges)
    for layer, kept in plan.keep.items():
        if kept not in KEPT:
            near = difflib.get_close_matches(kept, KEPT, 1)
            raise QuantizeError(
                f"layer {layer!r} cannot be kept in {kept!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
                f"known: {', '.join(KEPT)}",
            )
    if plan.scheme != "int8" and not plan.plain:
        what = f"keeps {' and '.join(plan.keep)} apart" if plan.keep else f"chooses {plan.ranges} ranges"
        raise QuantizeError(f"the plan {what}, which goes with int8 only, not with {plan.scheme}", "use int8")


def _check_weights(weights: str) -> None:
    if weights not in WEIGHTS:
        raise QuantizeError(f"unknown choice of weights {weights!r}", f"known: {', '.join(WEIGHTS)}")


def export(model: keras.Model, path: Path) -> None:
    """`model` as a SavedModel with one signature: `input` (1, ...) float32, or int32 for ids -> `output`.

    The batch is fixed at 1, so that no operator that computes shapes ends up in the .tflite. Raises QuantizeError for
    an input size that the model leaves open.
    """
    import edgepress_train.keras2  # noqa: F401, I001  (chooses Keras 2 before TensorFlow is touched)
    import tensorflow as tf

    shape = tuple(model.inputs[0].shape)[1:]
    if any(n is None for n in shape):
        raise QuantizeError(
            f"the model's input is {list(shape)}: a board needs fixed sizes", "build the model with a fixed input size"
        )
    dtype = tf.as_dtype(model.inputs[0].dtype)
    if dtype not in (tf.float32, tf.int32):
        raise QuantizeError(f"the model's input is {dtype.name}; edgepress converts models of float32 or int32 input")
    if len(model.outputs) != 1:
        raise QuantizeError(f"the model has {len(model.outputs)} outputs; edgepress converts models with one")
    signature = tf.TensorSpec((1, *shape), dtype, name="input")
    function = tf.function(lambda input: {"output": model(input, training=False)}, input_signature=[signature])
    holder = tf.Module()
    # Kept by themselves, since the converter does not find the variables inside a Keras 3 model and would leave them
    # out without a word; Keras 3 wraps TensorFlow's variables in its own.
    holder.weights = [v if isinstance(v, tf.Variable) else v.value for v in model.variables]
    tf.saved_model.save(holder, str(path), signatures={"serving_default": function.get_concrete_function()})


def _run_child(folder: Path, names: Sequence[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "TF_CPP_MIN_LOG_LEVEL": "2"}
    environment["CUDA_VISIBLE_DEVICES"] = "-1"
    command = [sys.executable, "-m", "edgepress_convert.converter", str(folder)]
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode == 0:
        return
    failure = folder / "failure.json"
    if failure.is_file():
        told = json.loads(failure.read_text(encoding="utf-8"))
        raise _explained(told["scheme"], told["error"])
    began = folder / "began"
    at = began.read_text(encoding="utf-8") if began.is_file() else " and ".join(names)
    how = f"signal {_signal(-done.returncode)}" if done.returncode < 0 else f"exit code {done.returncode}"
    raise QuantizeError(
        f"TensorFlow's converter crashed on this model ({how}) while making {at}",
        "GRU and other loops have no int8 form: use --quantize dynamic or float32, or rebuild them with unroll=True",
    )


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _explained(scheme_name: str, error: str) -> QuantizeError:
    """The converter's many lines as one sentence."""
    named: list[str] = []
    for line in re.findall(r"^(?:TF Select|Flex|Custom) ops: (.+)$", error, re.MULTILINE):
        named += [op.strip() for op in line.split(",")]
    if named:
        return _not_native(tuple(sorted(set(named))), scheme_name)
    quantized = re.search(r"'tfl\.(\w+)' op .*(?:quantiz|not supported|requires)", error)
    first = next((line.strip() for line in error.splitlines() if line.strip()), "no reason given")
    what = f"operator {quantized.group(1)}: " if quantized else ""
    return QuantizeError(
        f"TensorFlow cannot convert this model to {scheme_name}: {what}{first[:300]}",
        "try another scheme: int16x8, dynamic or float32" if scheme_name != "float32" else "",
    )


def _not_native(ops: Sequence[str], scheme_name: str) -> QuantizeError:
    return QuantizeError(
        f"the model uses {', '.join(ops)}, which a board's LiteRT does not have (converting to {scheme_name})",
        "replace the layer that uses it, or move it out of the model",
    )


def describe(name: str, weights: str, calibration: Mapping[str, Any] | None) -> dict[str, Any]:
    """The manifest's account of a quantization: scheme, weights and where the representative inputs came from."""
    return {"scheme": name, "weights": weights, "representative": None if calibration is None else dict(calibration)}
