"""Looking into a .tflite while it runs: every tensor kept, and no delegate, which would hide what is inside it."""

from __future__ import annotations

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgepress_runtime.errors import EdgepressError


def open_glass(model: bytes) -> Interpreter:
    """An interpreter of `model` that can be asked for any tensor after a run. Raises EdgepressError."""
    try:
        interpreter = Interpreter(
            model_content=model,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            num_threads=1,
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise EdgepressError(f"LiteRT cannot load the converted model: {error}") from None
    return interpreter
