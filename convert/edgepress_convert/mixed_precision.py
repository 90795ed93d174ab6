"""The door to ai-edge-quantizer: a float32 .tflite made integer operator by operator, some of them left more precise.

TensorFlow's converter has one scheme for all operators, and finds its ranges itself. Given the same ranges the two make
the same integers, so that one may stand in for the other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import algorithm_manager, model_modifier, params_generator, qtyping, recipe_manager
from ai_edge_quantizer.utils import tfl_flatbuffer_utils

from edgepress_convert import flatbuffer, islands
from edgepress_convert.activation_ranges import Range
from edgepress_convert.compact import write
from edgepress_convert.flatbuffer import Graph
from edgepress_runtime.errors import EdgepressError

_Algorithm = algorithm_manager.AlgorithmName
_Name = qtyping.TFLOperationName
_Share = qtyping.QuantGranularity
_HALVED = ("SOFTMAX", "LOGISTIC")
_KNOWN = {
    name: tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME[code]
    for code, name in flatbuffer.OPS.items()
    if code in tfl_flatbuffer_utils.TFL_OP_CODE_TO_NAME
}


def quantize(float_model: bytes, ranges: Mapping[str, Range], *, kept: Mapping[int, str], weights: str) -> bytes:
    """`float_model` with int8 weights, activations, input and output, but for `kept`: operator -> `quantize.KEPT`.

    `ranges`: of every activation, by the name of its tensor; an int16 tensor is made symmetric about zero. Between
    operators of different schemes goes a QUANTIZE or DEQUANTIZE. `weights`: one of `quantize.WEIGHTS`. Raises
    EdgepressError for an operator that a scheme does not have.
    """
    graph = flatbuffer.graphs(float_model)[0]
    ranges = islands.settled(graph, ranges)
    recipe = _recipe(graph, kept, weights)
    model = tfl_flatbuffer_utils.read_model(float_model)
    try:
        parameters = params_generator.ParamsGenerator(model).generate_quantization_parameters(
            recipe, _ends(graph, ranges, kept), enable_progress_bar=False
        )
        made = model_modifier.ModelModifier(model).modify_model(parameters, enable_progress_bar=False)
    except (RuntimeError, ValueError, KeyError, NotImplementedError) as error:
        told = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise EdgepressError(
            f"this model cannot be quantized operator by operator: {told[:300]}",
            "use min-max ranges, and keep no layer apart",
        ) from None
    unpacked = _unpacked(bytes(made))
    islands.join(unpacked, graph, ranges, kept)
    return write(unpacked)


def lacks(kind: str, scheme: str) -> bool:
    """Whether `scheme` has no kernel of this kind of operator, so that it cannot be kept in it."""
    if scheme != "int16x8" or kind in islands.JOINED:
        return False
    if kind not in _KNOWN:
        return True
    try:
        recipe_manager.RecipeManager().add_static_config("", _KNOWN[kind], 16, 8)
    except ValueError:
        return True
    return False


class _Pinned(dict):
    """Ends of a range that stay as they are."""

    def __setitem__(self, key: str, value: np.ndarray) -> None:
        pass


def _ends(graph: Graph, ranges: Mapping[str, Range], kept: Mapping[int, str]) -> dict[str, dict[str, np.ndarray]]:
    """`ranges` as the quantizer takes them: arrays of the tensor's rank.

    It lets a softmax of 16 bits have -1 to 1, and an int8 reader of it, too, whose steps would then be twice as coarse
    as they need to be; so what no 16-bit operator reads is pinned to the scale of an int8 softmax.
    """
    wide = {graph.tensors[i].name for n, scheme in kept.items() if scheme == "int16x8" for i in graph.ops[n].inputs}
    rank = {tensor.name: len(tensor.shape) for tensor in graph.tensors}
    pinned = {graph.tensors[i].name for n in kept if graph.ops[n].kind in _HALVED for i in graph.ops[n].outputs} - wide
    ends = {}
    for name, (low, high) in ranges.items():
        kind = _Pinned if name in pinned else dict
        ends[name] = kind({"min": np.full([1] * rank[name], low), "max": np.full([1] * rank[name], high)})
    return ends


def _recipe(graph: Graph, kept: Mapping[int, str], weights: str) -> recipe_manager.RecipeManager:
    """The rules, the later of which win: int8 for all, then one of its own for each operator that is kept."""
    recipe = recipe_manager.RecipeManager()
    share = _Share.TENSORWISE if weights == "per-tensor" else _Share.CHANNELWISE
    dense = _Share.CHANNELWISE if weights == "per-channel" else _Share.TENSORWISE
    recipe.add_static_config(".*", _Name.ALL_SUPPORTED, 8, 8, share)
    recipe.add_static_config(".*", _Name.FULLY_CONNECTED, 8, 8, dense)
    for n, scheme in sorted(kept.items()):
        op = graph.ops[n]
        if op.kind not in _KNOWN:  # left alone, or made like its neighbours
            continue
        kind = _KNOWN[op.kind]
        # The quantizer knows an operator by the names of its outputs, as it does the model's output.
        scope = "^" + re.escape("".join(f"{graph.tensors[i].name};" for i in op.outputs)) + "$"
        if scheme == "int16x8":
            recipe.add_static_config(scope, kind, 16, 8, dense if kind == _Name.FULLY_CONNECTED else share)
            continue
        try:
            if scheme != "float16":
                raise ValueError
            recipe.add_weight_only_config(scope, kind, 16, algorithm_key=_Algorithm.FLOAT_CASTING)
        except ValueError:  # float32, or an operator without weights
            recipe.add_quantization_config(scope, kind, algorithm_key=_Algorithm.NO_QUANTIZE)
    return recipe


def _unpacked(model: bytes) -> schema.ModelT:
    """`model` as objects; weights that lie behind the flatbuffer, as the quantizer puts many of them, come back in."""
    unpacked = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    for buffer in unpacked.buffers:
        if buffer.offset > 1:
            buffer.data = np.frombuffer(model, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return unpacked
