"""Int8 models that end the process which loads them, told before anybody does.

An int8 operator rescales its sums by input scale x weight scale / output scale. XNNPACK has no such multiplier of 256
or more, and LiteRT 2.3 frees its memory twice when it is told so: the process aborts before anything is computed. Found
by trying: 255 runs, 257 aborts.
"""

from __future__ import annotations

from edgepress_convert import flatbuffer
from edgepress_convert.flatbuffer import Graph
from edgepress_runtime.errors import EdgepressError

LIMIT = 256.0
# operators with a kernel, and where it lies among their inputs
_KERNEL = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "CONV_3D": 1, "TRANSPOSE_CONV": 1}


def deadly(graph: Graph) -> str:
    """The output of the first int8 operator whose multiplier is LIMIT or more in some channel, empty for none."""
    for op in graph.ops:
        if op.kind not in _KERNEL or not op.outputs:
            continue
        place = 2 if op.kind == "TRANSPOSE_CONV" else 0
        source, kernel, target = (
            graph.tensors[i] for i in (op.inputs[place], op.inputs[_KERNEL[op.kind]], op.outputs[0])
        )
        if not (source.dtype == target.dtype == "int8" and source.scales and kernel.scales and target.scales):
            continue
        if source.scales[0] * max(kernel.scales) / target.scales[0] >= LIMIT:
            return flatbuffer.short(target.name)
    return ""


def refuse_deadly(model: bytes) -> None:
    """Raise EdgepressError for a .tflite that no board could load."""
    name = next(filter(None, map(deadly, flatbuffer.graphs(model))), "")
    if name:
        raise EdgepressError(
            f"LiteRT aborts when it loads this model: the scales around {name} are {LIMIT:g} times apart or more",
            "even them out with: edgepress compress RUN --recipe mend, or use --quantize int16x8, dynamic or float16",
        )
