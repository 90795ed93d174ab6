"""A Keras 3 model rebuilt in Keras 2, which is what TF-MOT and every pass understand."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress_convert.importers.source import ImportFailure

if TYPE_CHECKING:
    from edgepress_train.keras2 import keras

# Keras 3 writes these operators of its own for arithmetic between tensors; what does the same among Keras 2's layers
_MERGES = {"Add": "Add", "Multiply": "Multiply", "Subtract": "Subtract", "Maximum": "Maximum", "Minimum": "Minimum"}
# Activations that Keras 2 has under another name, or only as layers
_RENAMED = {"silu": "swish"}
_AS_LAYERS = ("relu6", "hard_sigmoid", "hard_silu", "hard_swish")
_TOLERANCE = 1e-3  # of the largest output


def in_keras2(model: Any) -> keras.Model:
    """A Keras 2 model with the layers and weights of the Keras 3 `model`, giving the same answers.

    Raises ImportFailure for a layer that Keras 2 does not have, or that computes something else there.
    """
    from edgepress_train.keras2 import keras

    rebuilt = _rebuild(model, keras)
    shape = (2, *(size or 32 for size in tuple(model.inputs[0].shape)[1:]))
    example = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected, found = np.asarray(model(example, training=False)), np.asarray(rebuilt(example, training=False))
    worst = float(np.abs(expected - found).max())
    if worst > _TOLERANCE * max(1e-6, float(np.abs(expected).max())):
        raise ImportFailure(
            f"{model.name} answers differently when its layers are those of Keras 2, by up to {worst:.2g}",
            "save it with Keras 2 (TF_USE_LEGACY_KERAS=1), or convert it without compressing",
        )
    return rebuilt


def _rebuild(model: Any, keras: Any) -> keras.Model:
    made: dict[int, Any] = {}  # Keras 3 tensor -> Keras 2 tensor
    layers: dict[int, Any] = {}  # Keras 3 layer -> its twin, so that a layer used twice shares its weights
    if not hasattr(model, "_nodes_by_depth"):
        model = model._functional  # of a Sequential
    for old in model.inputs:
        made[id(old)] = keras.Input(
            tuple(old.shape)[1:], batch_size=old.shape[0], name=str(old._keras_history.operation.name)
        )
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            outputs = _call(node, made, layers, keras)
            for old, new in zip(node.outputs, outputs, strict=True):
                made[id(old)] = new
    inputs, outputs = ([made[id(tensor)] for tensor in tensors] for tensors in (model.inputs, model.outputs))
    return keras.Model(inputs, outputs, name=model.name)


def _call(node: Any, made: Mapping[int, Any], layers: dict[int, Any], keras: Any) -> list[Any]:
    operation, arguments = node.operation, node.arguments
    if type(operation).__module__.startswith("keras.src.ops"):
        return [_arithmetic(operation, arguments.args, made, keras)]
    if id(operation) not in layers:
        nested = hasattr(operation, "layers")
        layers[id(operation)] = _rebuild(operation, keras) if nested else _layer(operation, keras)
    twin = layers[id(operation)]
    result = twin(_mapped(arguments.args[0], made))
    if not hasattr(operation, "layers"):
        if operation.get_weights():
            twin.set_weights(operation.get_weights())
        result = _activated(result, operation, keras)
    return list(result) if isinstance(result, (list, tuple)) else [result]


def _mapped(value: Any, made: Mapping[int, Any]) -> Any:
    if isinstance(value, (list, tuple)):
        return [_mapped(item, made) for item in value]
    return made.get(id(value), value)


def _arithmetic(operation: Any, args: tuple[Any, ...], made: Mapping[int, Any], keras: Any) -> Any:
    name = type(operation).__name__
    a, b = (_mapped(args[0], made), _mapped(args[1], made)) if len(args) == 2 else (None, None)
    number = next((x for x in (a, b) if isinstance(x, (int, float))), None)
    if name in _MERGES and number is None and a is not None:
        return getattr(keras.layers, _MERGES[name])(name=operation.name)([a, b])
    tensor = b if isinstance(a, (int, float)) else a
    # One affine layer serves all arithmetic with a number that does not depend on the order
    scale, offset = {"Add": (1.0, number), "Multiply": (number, 0.0)}.get(name, (None, None))
    if scale is not None and number is not None:
        return keras.layers.Rescaling(scale, offset, name=operation.name)(tensor)
    raise ImportFailure(
        f"the layer {operation.name} ({name}) has no twin in Keras 2, which compression needs",
        "write it with layers of keras.layers, or convert the model without compressing",
    )


def _layer(old: Any, keras: Any) -> Any:
    kind = getattr(keras.layers, type(old).__name__, None)
    if kind is None or not type(old).__module__.startswith("keras.src."):
        raise ImportFailure(
            f"the layer {old.name} ({type(old).__name__}) has no twin in Keras 2, which compression needs",
            "write it with layers that both have, or convert the model without compressing",
        )
    config = {key: _plain(value) for key, value in old.get_config().items()}
    known = _keywords(kind)
    config = {key: value for key, value in config.items() if key in known}
    if "activation" in config:
        name = config["activation"]
        config["activation"] = "linear" if name in _AS_LAYERS else _RENAMED.get(name, name)
    try:
        return kind(**config)
    except (TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ImportFailure(
            f"the layer {old.name} ({type(old).__name__}) cannot be built in Keras 2: {reason}"
        ) from None


def _keywords(kind: type) -> set[str]:
    """What the constructors of `kind` and its parents take by name."""
    found = {"name", "trainable", "dtype"}
    for parent in kind.__mro__:
        found |= set(inspect.signature(parent.__init__).parameters) if "__init__" in vars(parent) else set()  # type: ignore[misc]
    return found - {"self", "args", "kwargs"}


def _plain(value: Any) -> Any:
    """Keras 3's nested descriptions as what Keras 2's constructors take: names for dtypes, nothing for what only
    training needs.
    """
    if isinstance(value, Mapping):
        if value.get("class_name") == "DTypePolicy":
            return value["config"]["name"]
        return None if "class_name" in value else dict(value)
    return tuple(value) if isinstance(value, list) else value


def _activated(tensor: Any, old: Any, keras: Any) -> Any:
    """`tensor` behind the activation of the Keras 3 layer `old`, where Keras 2 needs layers of its own for it."""
    name = old.get_config().get("activation")
    if name not in _AS_LAYERS:
        return tensor
    layers = keras.layers
    if name == "relu6":
        return layers.ReLU(6.0, name=f"{old.name}_relu6")(tensor)
    gate = layers.Rescaling(1.0, 3.0, name=f"{old.name}_shift")(tensor)
    gate = layers.ReLU(6.0, name=f"{old.name}_relu6")(gate)
    gate = layers.Rescaling(1 / 6, name=f"{old.name}_gate")(gate)
    return gate if name == "hard_sigmoid" else layers.Multiply(name=f"{old.name}_hard_swish")([tensor, gate])
