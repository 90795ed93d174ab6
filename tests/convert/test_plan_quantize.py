"""Plans against TensorFlow's own converter, against NumPy, and what they say of layers that cannot be kept apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tests.convert.conftest import HEARING, SPEC, convert_here, examples, heard_windows, pictures

from edgepress_convert import (
    convert_speech,
    flatbuffer,
    islands,
    layer_map,
    layers,
    mixed_precision,
    planned,
    quantize,
    streaming,
    tflite,
    verify,
)
from edgepress_convert.compact import compact
from edgepress_convert.examples import Examples
from edgepress_convert.layer_map import Unit
from edgepress_convert.plan import Plan
from edgepress_convert.planned import Prepared
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import normalize
from edgepress_runtime.image import quantize as to_stored
from edgepress_train.keras2 import keras


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convert in this process, which has TensorFlow already."""
    monkeypatch.setattr(quantize, "convert", convert_here)


@pytest.fixture(scope="module")
def prepared(network, representative) -> Prepared:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "convert", convert_here)
        return planned.prepare(network, representative)


@pytest.fixture(scope="module")
def varied() -> tuple[keras.Model, np.ndarray, Prepared, bytes]:
    """A net of many kinds of layers, examples for it, the net prepared, and TensorFlow's int8 of it."""
    keras.utils.set_random_seed(0)
    lay = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = lay.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = lay.ReLU(name="stem_relu")(lay.BatchNormalization(name="stem_norm")(x))
    y = lay.SeparableConv2D(8, 3, padding="same", name="pair")(x)
    y = lay.Activation("swish", name="gate")(y)
    x = lay.Add(name="sum")([x, lay.Dropout(0.1, name="drop")(y)])
    x = lay.LeakyReLU(name="leak")(lay.Conv2D(8, 1, name="point")(x))
    x = lay.Concatenate(name="both")(
        [lay.GlobalAveragePooling2D(name="mean")(x), lay.GlobalMaxPooling2D(name="top")(x)]
    )
    outputs = lay.Softmax(name="scores")(lay.Dense(4, name="head")(x))
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)
    for weight in model.weights:
        if len(weight.shape) == 1 and "moving" not in weight.name:
            weight.assign(rng.uniform(0.2, 0.6, weight.shape))
    given = rng.normal(size=(24, 8, 8, 3)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quantize, "convert", convert_here)
        return model, given, planned.prepare(model, given), convert_here(model, ("int8",), representative=given)["int8"]


def kinds(data: bytes) -> list[str]:
    return [op.kind for op in flatbuffer.graphs(data)[0].ops]


def dtypes(data: bytes, kind: str) -> list[tuple[str, ...]]:
    """Of every operator of a kind: dtypes of its input, kernel and output."""
    graph = flatbuffer.graphs(data)[0]
    return [
        tuple(graph.tensors[i].dtype for i in (*op.inputs[:2], op.outputs[0])) for op in graph.ops if op.kind == kind
    ]


def reals(data: bytes, given: np.ndarray) -> np.ndarray:
    return verify.scores(data, Examples(given, lambda part: part, None, "examples"))


def snr(expected: np.ndarray, found: np.ndarray) -> float:
    return float(10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()))


def test_a_plain_plan_takes_the_old_way(network, representative: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def convert(model, schemes, *, representative=None, weights="per-channel"):
        asked.append((model, schemes, representative is None, weights))
        return dict.fromkeys(schemes, b"bytes")

    monkeypatch.setattr(quantize, "convert", convert)
    assert quantize.from_plan(network, Plan(weights="per-tensor"), representative) == b"bytes"
    assert quantize.from_plan(network, Plan("float16"), representative) == b"bytes"
    assert asked == [(network, ("int8",), False, "per-tensor"), (network, ("float16",), True, "per-channel")]


def test_with_the_same_ranges_both_quantizers_make_the_same_integers(made, prepared: Prepared) -> None:
    pixels, _ = pictures(40, seed=6)
    built = planned.build(prepared, Plan())
    np.testing.assert_array_equal(verify.scores(built, examples(pixels)), verify.scores(made["int8"], examples(pixels)))
    ours, theirs = flatbuffer.graphs(built)[0], flatbuffer.graphs(made["int8"])[0]
    assert kinds(built) == kinds(made["int8"])
    kernels = [[t.values().tolist() for t in g.tensors if t.is_weight and len(t.shape) > 1] for g in (ours, theirs)]
    assert sorted(kernels[0]) == sorted(kernels[1])
    assert len(built) <= len(made["int8"])


def test_integers_throughout_where_tensorflow_has_them(varied) -> None:
    """A global maximum and a leaky ReLU are unknown to ai-edge-quantizer, which leaves them in float."""
    model, given, prepared, theirs = varied
    built = planned.build(prepared, Plan())
    assert kinds(built) == kinds(theirs)
    assert {t.dtype for t in flatbuffer.graphs(built)[0].tensors} == {"int8", "int32"}
    expected = model.predict(given, verbose=0)
    assert snr(expected, reals(built, given)) > snr(expected, reals(theirs, given)) - 3


def test_operator_versions_are_those_of_tensorflow(varied) -> None:
    def versions(data: bytes) -> dict[int, int]:
        root = schema.Model.GetRootAs(data, 0)
        codes = [root.OperatorCodes(i) for i in range(root.OperatorCodesLength())]
        return {max(code.BuiltinCode(), code.DeprecatedBuiltinCode()): code.Version() for code in codes}

    _, _, prepared, theirs = varied
    found, wanted = versions(planned.build(prepared, Plan())), versions(theirs)
    for kind in (schema.BuiltinOperator.REDUCE_MAX, schema.BuiltinOperator.LEAKY_RELU):
        assert found[kind] == wanted[kind]


def test_the_formula_in_numpy(prepared: Prepared, representative: np.ndarray) -> None:
    """q = round(sum((q_in - z_in) * q_w + b) * s_in * s_w / s_out) + z_out (Jacob et al. 2018, eq. 7), clipped."""
    plan = Plan(ranges="percentile:90")
    built = planned.build(prepared, plan)
    graph = flatbuffer.graphs(built)[0]
    op = next(op for op in graph.ops if op.kind == "CONV_2D")
    source, kernel, bias, out = (graph.tensors[i] for i in (*op.inputs, *op.outputs))
    low, high = planned.ranges_of(prepared, plan)[out.name]
    assert low == 0 < high
    assert out.scales[0] == pytest.approx((high - low) / 255, rel=1e-6)
    assert out.zero_points[0] == -128
    probe = layers._Probe(built, graph)
    probe.run(representative[:1])
    stored = probe.interpreter.get_tensor(source.index)[0].astype(np.int64)
    total = (stored - source.zero_points[0]) @ kernel.values().reshape(8, 3).T.astype(np.int64)
    total = total + np.frombuffer(bias.data, np.int32)
    wanted = np.rint(total * (source.scales[0] * np.array(kernel.scales) / out.scales[0])) - 128
    found = probe.interpreter.get_tensor(out.index)[0]
    assert (wanted > 127).mean() > 0.05  # what the clipping is about
    assert np.abs(found - np.clip(wanted, -128, 127)).max() <= 1
    assert (found == np.clip(wanted, -128, 127)).mean() > 0.97


@pytest.mark.parametrize(
    ("scheme", "inside", "kernel", "border"),
    [
        ("int16x8", "int16", "int8", ["QUANTIZE", "QUANTIZE"]),
        ("float16", "float32", "float32", ["DEQUANTIZE", "DEQUANTIZE", "QUANTIZE"]),
        ("float32", "float32", "float32", ["DEQUANTIZE", "QUANTIZE"]),
    ],
)
def test_a_kept_layer_and_its_borders(
    scheme: str, inside: str, kernel: str, border: list[str], network, representative: np.ndarray
) -> None:
    built = quantize.from_plan(network, Plan(keep={"blur": scheme}), representative)
    graph = flatbuffer.graphs(built)[0]
    assert dtypes(built, "DEPTHWISE_CONV_2D") == [(inside, kernel, inside)]
    assert dtypes(built, "CONV_2D") == dtypes(built, "FULLY_CONNECTED") == [("int8", "int8", "int8")]
    assert [kind for kind in kinds(built) if kind.endswith("QUANTIZE")] == border
    assert {graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)} == {"int8"}
    halves = [t.size for t in graph.tensors if t.dtype == "float16"]
    assert halves == ([72] if scheme == "float16" else [])
    pixels, _ = pictures(20, seed=6)
    expected = network.predict(normalize(pixels, SPEC), verbose=0)
    np.testing.assert_allclose(verify.scores(built, examples(pixels)), expected, atol=0.12)
    # What others make of such files
    assert compact(built) == built
    assert [layer.op for layer in tflite.facts(built).layers] == kinds(built)
    assert [layer.op for layer in layers.compare(built, built, representative[:2])] == [
        kind for kind in kinds(built) if not kind.endswith("QUANTIZE")
    ]


@pytest.mark.parametrize("xnnpack", [True, False])
def test_every_mixture_runs(xnnpack: bool, varied) -> None:
    _, given, prepared, _ = varied
    expected = reals(prepared.float_model, given)
    for scheme in quantize.KEPT:
        for keep in (
            {"stem": scheme},
            {"gate": scheme, "sum": scheme},
            {"scores": scheme},
            {"point": scheme, "top": scheme},
        ):
            with open_engine(planned.build(prepared, Plan(keep=keep)), xnnpack=xnnpack) as engine:
                stored = to_stored(given, engine.inputs[0])
                found = np.stack([engine.run(one[np.newaxis])[0][0] for one in stored])
                assert snr(expected, verify.dequantize(found, engine.outputs[0])) > 25


def test_operators_that_only_we_make_integer_are_kept_as_asked(varied) -> None:
    _, given, prepared, _ = varied
    for kept, leak, top in (
        ({}, "int8", "int8"),
        ({"top": "float32"}, "int8", "float32"),
        ({"top": "int16x8"}, "int8", "int16"),
        ({"leak": "int16x8"}, "int16", "int8"),
        ({"point": "int16x8", "leak": "float16", "top": "int16x8"}, "float32", "int16"),
        ({"point": "int16x8", "leak": "int16x8", "top": "int16x8"}, "int16", "int16"),
    ):
        built = planned.build(prepared, Plan(keep=kept))
        assert [(one[0], one[-1]) for one in dtypes(built, "LEAKY_RELU")] == [(leak, leak)]
        assert [(one[0], one[-1]) for one in dtypes(built, "REDUCE_MAX")] == [(top, top)]
        assert snr(reals(prepared.float_model, given), reals(built, given)) > 35


def test_only_conversions_that_change_nothing_go() -> None:
    def tensor(dtype: int, scale: float, zero: int) -> schema.TensorT:
        made = schema.TensorT()
        made.type, made.quantization = dtype, schema.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = np.float32([scale]), np.array([zero])
        return made

    eight, sixteen = schema.TensorType.INT8, schema.TensorType.INT16
    assert islands._alike(tensor(eight, 0.1, 3), tensor(eight, 0.1 * (1 + 1e-7), 3))
    for other in (tensor(eight, 0.101, 3), tensor(eight, 0.1, 4), tensor(sixteen, 0.1, 3)):
        assert not islands._alike(tensor(eight, 0.1, 3), other)


def test_everything_kept_is_as_good_as_its_scheme(varied) -> None:
    _, given, prepared, _ = varied
    names = [unit.name for unit in prepared.layers.units]
    expected = reals(prepared.float_model, given)
    whole = planned.build(prepared, Plan(keep=dict.fromkeys(names, "float32")))
    assert [k for k in kinds(whole) if not k.endswith("QUANTIZE")] == [op.kind for op in prepared.graph.ops]
    found = layers.compare(prepared.float_model, whole, given[:4])
    assert all(layer.snr_db > 30 for layer in found)  # an int8 input is all that it loses
    sixteen = planned.build(prepared, Plan(keep=dict.fromkeys(names, "int16x8")))
    assert {t.dtype for t in flatbuffer.graphs(sixteen)[0].tensors} == {"int8", "int16", "int32", "int64"}
    eight = planned.build(prepared, Plan())
    assert snr(expected, reals(sixteen, given)) > snr(expected, reals(eight, given))
    # The steps of the output are those of an int8 softmax, whatever computes it
    graph = flatbuffer.graphs(sixteen)[0]
    (end,) = flatbuffer.specs(graph, graph.outputs)
    assert (end.scale, end.zero_point) == (1 / 256, -128)


def test_a_16_bit_layer_is_finer_in_and_out(varied) -> None:
    """Between two kept layers the tensor is of 16 bits, and its steps are too fine for a percentile to matter."""
    _, _, prepared, _ = varied
    built = planned.build(prepared, Plan(ranges="percentile:90", keep={"stem": "int16x8", "pair": "int16x8"}))
    graph = flatbuffer.graphs(built)[0]
    out = next(graph.tensors[op.outputs[0]] for op in graph.ops if op.kind == "DEPTHWISE_CONV_2D")
    assert out.dtype == "int16"
    seen = prepared.seen[out.name]
    assert out.scales[0] == pytest.approx(max(-seen.low, seen.high) / 32767, rel=1e-5)


def test_layers_are_found_whatever_becomes_of_them(varied) -> None:
    _, _, prepared, _ = varied
    found = {unit.layers: tuple(prepared.graph.ops[n].kind for n in unit.ops) for unit in prepared.layers.units}
    assert found == {
        ("stem", "stem_norm", "stem_relu"): ("CONV_2D",),
        ("pair",): ("DEPTHWISE_CONV_2D", "CONV_2D"),
        ("gate", "drop"): ("LOGISTIC", "MUL"),
        ("sum",): ("ADD",),
        ("point",): ("CONV_2D",),
        ("leak",): ("LEAKY_RELU",),
        ("mean",): ("MEAN",),
        ("top",): ("REDUCE_MAX",),
        ("both",): ("CONCATENATION",),
        ("head",): ("FULLY_CONNECTED",),
        ("scores",): ("SOFTMAX",),
    }
    assert len(prepared.layers.idle) == 1  # the input


def test_names_that_lie_and_layers_called_twice() -> None:
    """A dense layer called `conv`, a convolution called `dense`, one layer for two tensors, and a model in a model."""
    keras.utils.set_random_seed(1)
    lay = keras.layers
    small = keras.Input((6, 6, 2))
    inner = keras.Model(small, lay.ReLU(name="cut")(lay.Conv2D(4, 3, name="dense")(small)), name="inner")
    inputs = keras.Input((6, 6, 2))
    x = lay.Reshape((16, 4), name="flat")(inner(inputs))
    twice = lay.Dense(4, name="conv", activation="tanh")
    x = twice(twice(x))
    model = keras.Model(inputs, lay.Dense(3, name="conv_1")(lay.GlobalAveragePooling1D(name="relu")(x)))
    given = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype(np.float32)
    float_model = convert_here(model, ("float32",))["float32"]
    found = layer_map.trace(model, float_model, given)
    ops = [op.kind for op in flatbuffer.graphs(float_model)[0].ops]
    assert [ops[n] for n in found.of("dense")[0].ops] == ["CONV_2D"]
    assert found.of("dense") == found.of("cut")
    assert [[ops[n] for n in unit.ops if ops[n] != "RESHAPE"] for unit in found.of("conv")] == 2 * [
        ["FULLY_CONNECTED", "TANH"]
    ]
    assert [ops[n] for unit in found.of("conv_1") for n in unit.ops] == ["FULLY_CONNECTED"]
    assert sorted(n for unit in found.units for n in unit.ops) == list(range(len(ops)))
    built = quantize.from_plan(model, Plan(keep={"conv": "float32"}), given)
    assert [one[0] for one in dtypes(built, "TANH")] == ["float32", "float32"]


def test_shapes_tell_before_names_do() -> None:
    """A ReLU called as TensorFlow calls what it makes of the layer behind it: `flat/Reshape`."""
    lay = keras.layers
    inputs = keras.Input((4, 4, 2))
    x = lay.Reshape((16, 3), name="flat")(lay.ReLU(name="Reshape")(lay.Conv2D(3, 1, name="mix")(inputs)))
    model = keras.Model(inputs, lay.Softmax(name="end")(x))
    given = np.random.default_rng(0).normal(size=(4, 4, 4, 2)).astype(np.float32)
    found = layer_map.trace(model, convert_here(model, ("float32",))["float32"], given)
    assert [unit.layers for unit in found.units] == [("mix", "Reshape"), ("flat",), ("end",)]


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (Plan(keep={"blurr": "int16x8"}), "the model has no layer 'blurr'; did you mean 'blur'?"),
        (Plan(keep={"image": "int16x8"}), "layer 'image' computes nothing, so it cannot be kept apart"),
        (Plan(keep={"blur": "int16"}), "layer 'blur' cannot be kept in 'int16'; did you mean 'int16x8'?"),
        (
            Plan("dynamic", keep={"blur": "float32"}),
            "the plan keeps blur apart, which goes with int8 only, not with dynamic",
        ),
        (Plan("int16x8", ranges="mse"), "the plan chooses mse ranges, which goes with int8 only, not with int16x8"),
        (Plan(ranges="msee"), "unknown choice of ranges 'msee'; did you mean 'mse'?"),
        (Plan("int9"), "unknown quantization 'int9'; did you mean 'int8'?"),
        (Plan(weights="per-row"), "unknown choice of weights 'per-row'"),
    ],
)
def test_plans_that_cannot_be(plan: Plan, sentence: str, network, representative: np.ndarray) -> None:
    with pytest.raises(EdgepressError) as caught:
        quantize.from_plan(network, plan, representative)
    assert caught.value.what == sentence


def test_layers_that_cannot_be_kept_so(varied) -> None:
    _, _, prepared, _ = varied
    with pytest.raises(EdgepressError, match="is computed together with one that is kept in int16x8"):
        planned.operators(prepared, {"stem": "int16x8", "stem_relu": "float32"})
    units = (Unit(("hard",), (0,)),)
    fake = Prepared(prepared.float_model, {}, layer_map.LayerMap(units))
    assert planned.operators(fake, {"hard": "int16x8"}) == {0: "int16x8"}
    assert mixed_precision.lacks("HARD_SWISH", "int16x8") and not mixed_precision.lacks("HARD_SWISH", "float32")
    assert mixed_precision.lacks("PRELU", "int16x8") and not mixed_precision.lacks("REDUCE_MAX", "int16x8")


def test_weights_that_share_a_scale(varied) -> None:
    _, _, prepared, _ = varied
    for weights, left in (("per-channel", 5), ("per-tensor-dense", 4), ("per-tensor", 0)):
        built = planned.build(prepared, Plan(weights=weights))
        assert len(tflite.facts(built).per_channel) == left


def test_many_weights_come_back_into_the_file() -> None:
    """The quantizer puts more than 256 KiB of them behind the flatbuffer, where not every reader finds them."""
    inputs = keras.Input((600,))
    outputs = keras.layers.Dense(3, name="out")(keras.layers.Dense(600, activation="relu", name="big")(inputs))
    model = keras.Model(inputs, outputs)
    given = np.random.default_rng(0).normal(size=(4, 600)).astype(np.float32)
    built = quantize.from_plan(model, Plan(ranges="mse"), given)
    assert tflite.facts(built).params > 360_000
    assert snr(model.predict(given, verbose=0), reals(built, given)) > 25


def test_a_layer_with_a_memory_starts_each_example_without() -> None:
    inputs = keras.Input((5, 4))
    outputs = keras.layers.Dense(2, name="end")(keras.layers.LSTM(3, name="memory")(inputs))
    model = keras.Model(inputs, outputs)
    given = np.random.default_rng(0).normal(size=(8, 5, 4)).astype(np.float32)
    prepared = planned.prepare(model, given)
    kinds_of = {unit.name: [prepared.graph.ops[n].kind for n in unit.ops] for unit in prepared.layers.units}
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in kinds_of["memory"]
    assert kinds_of["end"] == ["FULLY_CONNECTED"]
    inside = keras.Model(inputs, model.get_layer("memory").output).predict(given, verbose=0)
    read = prepared.graph.tensors[prepared.graph.ops[-1].inputs[0]].name
    assert prepared.seen[read].high == pytest.approx(inside.max(), abs=1e-5)


def test_what_litert_cannot_run_is_not_handed_out(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixed_precision, "quantize", lambda *_, **__: prepared.float_model[:-40] + bytes(40))
    with pytest.raises(EdgepressError, match="LiteRT cannot run what was made of this model"):
        planned.build(prepared, Plan(ranges="mse"))


def test_loops_are_refused() -> None:
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, keras.layers.GRU(3)(inputs))
    with pytest.raises(EdgepressError, match="the model has loops, whose ranges cannot be watched"):
        quantize.from_plan(model, Plan(ranges="mse"), np.zeros((2, 5, 4), np.float32))


@pytest.mark.parametrize("plan", [
    Plan(ranges="mse"), Plan(keep={"head": "int16x8"}), Plan(keep={"conv2d": "int16x8", "depthwise_conv2d": "int16x8"}),
    Plan(ranges="percentile:99.9", keep={"add": "float32"}), Plan(keep={"head": "float16"}),
])  # fmt: skip
def test_spotters_stream_to_the_bit(plan: Plan, spotter_net) -> None:
    features, labels = heard_windows(30, seed=8)
    held = Examples(features, lambda part: part.astype(np.float32)[..., np.newaxis], labels, "windows")
    first = {layer.name.rstrip("_0123456789"): layer.name for layer in reversed(spotter_net.layers)}
    plan = Plan(ranges=plan.ranges, keep={first.get(name, name): scheme for name, scheme in plan.keep.items()})
    built = quantize.from_plan(spotter_net, plan, held.take(np.arange(24)))
    assert convert_speech.prove(built, streaming.stream(built), held) > 5
    assert features.shape[2] == HEARING.features
