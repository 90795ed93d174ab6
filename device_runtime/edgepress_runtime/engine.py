"""The engine that runs a `.tflite` model: LiteRT, whatever its package is called here. Nothing else names it.

One Engine belongs to one thread; several engines of one model may live side by side.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, Callable, NoReturn

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import TensorSpec
from edgepress_runtime.quiet import without_chatter

# Package, module with the interpreter. The first one that is installed is used.
ENGINES = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}
MAX_THREADS = 256  # with a hundred thousand the engine takes the process down
DELEGATES = {"edgetpu": "libedgetpu.so.1"}
_INSTALL = "pip install ai-edge-litert (on 32-bit Raspberry Pi OS: pip install tflite-runtime==2.14.0 'numpy<2')"


class Engine:
    """A loaded model, ready to run. Made by `open_engine`.

    `name` is the engine's package and version, `threads` what it was asked to use, `inputs` and `outputs` the model's
    tensors. `input_views` and `output_views` are functions that give a tensor's memory; hold the functions, never what
    they give. `interpreter` is the engine's own object, for comparisons with it.
    """

    def __init__(self, interpreter: Any, name: str, threads: int) -> None:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.interpreter = interpreter
        self.name = name
        self.threads = threads
        self.inputs = tuple(_spec(d) for d in inputs)
        self.outputs = tuple(_spec(d) for d in outputs)
        self.input_indices = tuple(int(d["index"]) for d in inputs)
        self.output_indices = tuple(int(d["index"]) for d in outputs)
        self.input_views: tuple[Callable[[], np.ndarray], ...] = tuple(
            interpreter.tensor(i) for i in self.input_indices
        )
        self.output_views: tuple[Callable[[], np.ndarray], ...] = tuple(
            interpreter.tensor(i) for i in self.output_indices
        )
        self.invoke: Callable[[], None] = interpreter.invoke

    def input_view(self, index: int = 0) -> np.ndarray:
        """The memory of an input tensor, to write into. Drop it before `invoke`, which refuses to run else."""
        return self.input_views[index]()

    def output_view(self, index: int = 0) -> np.ndarray:
        """The memory of an output tensor. Drop it before the next `invoke`."""
        return self.output_views[index]()

    def run(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """Outputs of the model for `arrays`, one an input, each of the tensor's very shape and dtype."""
        if len(arrays) != len(self.inputs):
            raise EdgepressError(f"the model has {len(self.inputs)} inputs, {len(arrays)} arrays were given")
        for i, (array, tensor) in enumerate(zip(arrays, self.inputs)):
            if array.shape != tensor.shape or array.dtype.name != tensor.dtype:
                raise EdgepressError(
                    f"input {i} should be {tensor.dtype} {list(tensor.shape)}, "
                    f"not {array.dtype.name} {list(array.shape)}"
                )
            self.input_view(i)[...] = array
        try:
            self.invoke()
        except (RuntimeError, ValueError) as error:
            raise EdgepressError(f"the model failed to run: {_line(error)}") from None
        return tuple(self.output_view(i).copy() for i in range(len(self.outputs)))

    def expect(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        """Raise EdgepressError unless the model's tensors have these shapes, dtypes, scales and zero points."""
        for kind, expected, found in (("input", inputs, self.inputs), ("output", outputs, self.outputs)):
            if len(expected) != len(found):
                raise EdgepressError(
                    f"the manifest lists {len(expected)} {kind} tensors, the model has {len(found)}", "convert it again"
                )
            for i, (said, real) in enumerate(zip(expected, found)):
                if _facts(said) != _facts(real):
                    raise EdgepressError(
                        f"the manifest says {_describe(said)} for {kind} {i}, the model has {_describe(real)}",
                        "make the bundle again with edgepress convert",
                    )

    def close(self) -> None:
        """Free the model. The engine cannot be used afterwards."""
        self.input_views = (_closed,) * len(self.inputs)
        self.output_views = (_closed,) * len(self.outputs)
        self.interpreter = None
        self.invoke = _closed

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_engine(
    model: bytes | memoryview | str | os.PathLike[str],
    *,
    threads: int | None = None,
    xnnpack: bool = True,
    delegates: Sequence[str] = (),
    verbose: bool = False,
) -> Engine:
    """Load a model, from its bytes or from a file, which is then mapped instead of copied.

    `threads` defaults to the number of cores that this process may use, at most 4. `xnnpack` are the fast kernels of
    the CPU. A delegate is `edgetpu`, or the path of an external delegate's library, with options after a colon:
    `libx.so:device=0,cache=1`. `verbose` lets the engine's INFO lines through to stderr. Raises EdgepressError when no
    engine is installed, the model is broken, or a delegate cannot be loaded.
    """
    package, module = _engine()
    threads = _cores() if threads is None else threads
    if not 1 <= threads <= MAX_THREADS:
        raise EdgepressError(f"an engine needs 1 to {MAX_THREADS} threads, not {threads}")
    options: dict[str, Any] = {"num_threads": threads}
    if isinstance(model, (bytes, memoryview)):
        options["model_content"] = bytes(model)
    elif os.fspath(model).isprintable():
        options["model_path"] = os.fspath(model)
    else:  # the engine takes only names that are text
        options["model_content"] = _read(model)
    if _read(model, 8)[4:] != b"TFL3":
        raise EdgepressError("the model is not a .tflite file", "convert it with edgepress convert")
    if not xnnpack:
        options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    if delegates:
        options["experimental_delegates"] = [_delegate(text, module) for text in delegates]
    try:
        with nullcontext() if verbose else without_chatter():
            interpreter = module.Interpreter(**options)
            interpreter.allocate_tensors()
        return Engine(interpreter, f"{package} {_version(package)}", threads)
    except (RuntimeError, ValueError, TypeError) as error:
        raise EdgepressError(
            f"the model cannot be loaded: {_line(error)}", "convert it again, or copy it again"
        ) from None


def _engine() -> tuple[str, ModuleType]:
    for package, name in ENGINES.items():
        try:
            return package, importlib.import_module(name)
        except ModuleNotFoundError as error:
            if name.split(".")[0] != (error.name or "").split(".")[0]:
                raise EdgepressError(
                    f"{package} is installed but lacks {error.name}", f"pip install {error.name}"
                ) from None
        except (ImportError, AttributeError) as error:
            # A wheel built against NumPy 1 fails like this beside NumPy 2.
            raise EdgepressError(f"{package} is installed but does not load: {_line(error)}", _INSTALL) from None
    raise EdgepressError("no engine for .tflite models is installed", _INSTALL)


def _delegate(text: str, module: ModuleType) -> Any:
    library, _, tail = text.partition(":")
    library = DELEGATES.get(library, library)
    options = dict(pair.partition("=")[::2] for pair in tail.split(",") if pair)
    remedy = (
        "install it from coral.ai/software (libedgetpu1-std) and plug the accelerator in"
        if text == "edgetpu"
        else "give 'edgetpu' or the path of an external delegate's .so file"
    )
    try:
        symbols = ctypes.CDLL(library)
    except OSError as error:
        raise EdgepressError(f"the delegate {text!r} cannot be loaded: {_line(error)}", remedy) from None
    if not hasattr(symbols, "tflite_plugin_create_delegate"):
        raise EdgepressError(f"{library!r} is not an external delegate of LiteRT", remedy)
    try:
        return module.load_delegate(library, options)
    except (ValueError, RuntimeError) as error:
        raise EdgepressError(f"the delegate {text!r} refused to start: {_line(error)}", remedy) from None


def _spec(details: dict[str, Any]) -> TensorSpec:
    scales = details["quantization_parameters"]["scales"]
    zero_points = details["quantization_parameters"]["zero_points"]
    name, dtype = str(details["name"]), np.dtype(details["dtype"]).name
    if len(scales) > 1:
        raise EdgepressError(f"tensor {name!r} has one scale a channel; inputs and outputs need a single one")
    quantized = len(scales) == 1 and float(scales[0]) != 0
    return TensorSpec(
        name=name,
        shape=tuple(int(n) for n in details["shape"]),
        dtype=dtype,
        scale=float(scales[0]) if quantized else None,
        zero_point=int(zero_points[0]) if quantized else None,
    )


def _facts(tensor: TensorSpec) -> tuple[object, ...]:
    # The model stores its scales as float32, a manifest as decimal text.
    scale = None if tensor.scale is None else float(np.float32(tensor.scale))
    return tensor.shape, tensor.dtype, scale, tensor.zero_point


def _describe(tensor: TensorSpec) -> str:
    _shape, dtype, scale, zero_point = _facts(tensor)
    text = f"{dtype} {list(tensor.shape)}"
    return text if scale is None else f"{text} scale {scale:.9g} zero point {zero_point}"


def _read(model: bytes | memoryview | str | os.PathLike[str], size: int = -1) -> bytes:
    if isinstance(model, (bytes, memoryview)):
        return bytes(model[:size])
    try:
        with Path(model).open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise EdgepressError(f"{os.fspath(model)} cannot be read: {error.strerror or error}") from None


def _version(package: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown version"


def _cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, cores)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _closed() -> NoReturn:
    raise EdgepressError("the engine is closed")
