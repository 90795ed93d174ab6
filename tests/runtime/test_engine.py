"""The engine: the bare interpreter's answers, and a sentence instead of its exceptions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from edgepress_runtime import engine as engine_module
from edgepress_runtime.engine import ENGINES, open_engine
from edgepress_runtime.errors import EdgepressError

KINDS = ("float32", "uint8", "int8", "int16")


@pytest.fixture(params=KINDS)
def model(request, build):
    return build.dense_model(request.param)


def random_input(engine, seed=0):
    (tensor,) = engine.inputs
    rng = np.random.default_rng(seed)
    if tensor.dtype == "float32":
        return rng.uniform(-1, 1, tensor.shape).astype(np.float32)
    limits = np.iinfo(tensor.dtype)
    return rng.integers(limits.min, limits.max, tensor.shape, tensor.dtype, endpoint=True)


@pytest.mark.parametrize("xnnpack", [True, False])
def test_run_equals_the_bare_interpreter(build, model, xnnpack):
    with open_engine(model, threads=1, xnnpack=xnnpack) as engine:
        for seed in range(5):
            given = random_input(engine, seed)
            np.testing.assert_allclose(engine.run(given)[0], build.bare_run(model, given), rtol=0, atol=1e-6)


def test_bytes_views_and_files_are_the_same_model(build, tmp_path):
    model = build.dense_model("int8")
    (tmp_path / "m.tflite").write_bytes(model)
    answers = []
    for source in (
        model,
        memoryview(model),
        memoryview(b"xx" + model)[2:],
        tmp_path / "m.tflite",
        str(tmp_path / "m.tflite"),
    ):
        with open_engine(source) as engine:
            answers.append(engine.run(random_input(engine))[0].tobytes())
    assert len(set(answers)) == 1


def test_tensors_are_described(build):
    with open_engine(build.dense_model("uint8"), threads=2) as engine:
        (tensor,) = engine.inputs
        assert (tensor.shape, tensor.dtype, tensor.zero_point) == ((1, 6, 5, 3), "uint8", 131)
        assert np.float32(tensor.scale) == np.float32(0.011)
        assert engine.threads == 2
        package, version = engine.name.rsplit(" ", 1)
        assert package in ENGINES and version[0].isdigit()


def test_several_engines_of_one_model(build):
    model = build.dense_model("int8")
    engines = [open_engine(model) for _ in range(3)]
    given = [random_input(engines[0], seed) for seed in range(3)]
    for engine, array in zip(engines, given):
        engine.input_view()[...] = array
    for engine in engines:
        engine.invoke()
    for engine, array in zip(engines, given):
        np.testing.assert_array_equal(engine.output_view(), build.bare_run(model, array))


def test_run_checks_shape_dtype_and_number(build):
    with open_engine(build.dense_model("int8")) as engine:
        given = random_input(engine)
        for wrong, sentence in (
            (given[0], "input 0 should be int8 [1, 6, 5, 3], not int8 [6, 5, 3]"),
            (given.astype(np.uint8), "input 0 should be int8 [1, 6, 5, 3], not uint8 [1, 6, 5, 3]"),
            (given.astype(np.float32), "input 0 should be int8 [1, 6, 5, 3], not float32 [1, 6, 5, 3]"),
        ):
            with pytest.raises(EdgepressError) as caught:
                engine.run(wrong)
            assert caught.value.what == sentence
        with pytest.raises(EdgepressError, match="the model has 1 inputs, 2 arrays were given"):
            engine.run(given, given)


def test_answers_stay_after_the_next_run(build):
    with open_engine(build.dense_model("int8")) as engine:
        first = engine.run(random_input(engine, 1))[0]
        kept = first.copy()
        engine.run(random_input(engine, 2))
        np.testing.assert_array_equal(first, kept)


def test_a_closed_engine_says_so(build):
    engine = open_engine(build.dense_model("int8"))
    engine.close()
    with pytest.raises(EdgepressError, match="the engine is closed"):
        engine.invoke()
    with pytest.raises(EdgepressError, match="the engine is closed"):
        engine.run(np.zeros((1, 6, 5, 3), np.int8))


@pytest.mark.parametrize("cut", [0, 3, 8, 100, -200, -1])
def test_broken_models(build, cut):
    with pytest.raises(EdgepressError, match=r"the model (is not a \.tflite file|is truncated|cannot be loaded)"):
        open_engine(build.dense_model("int8")[:cut])


def test_a_missing_model_file(tmp_path):
    with pytest.raises(EdgepressError, match=r"m\.tflite cannot be read: No such file or directory"):
        open_engine(tmp_path / "m.tflite")


@pytest.mark.parametrize("threads", [0, -1, 257, 100_000])
def test_threads_must_be_possible(build, threads):
    with pytest.raises(EdgepressError, match=f"an engine needs 1 to 256 threads, not {threads}"):
        open_engine(build.dense_model("int8"), threads=threads)


def test_a_path_that_is_no_text(build, tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.tflite")
    path.write_bytes(build.dense_model("int8"))
    with open_engine(path) as engine:
        assert engine.inputs[0].dtype == "int8"


def test_a_manifest_of_another_model_is_refused(build):
    from dataclasses import replace

    with open_engine(build.dense_model("int8")) as engine:
        (tensor,), outputs = engine.inputs, engine.outputs
        engine.expect((replace(tensor, name="another name"),), outputs)
        for wrong, sentence in (
            (
                replace(tensor, shape=(1, 5, 6, 3)),
                "the manifest says int8 [1, 5, 6, 3] scale 0.00392156886 zero point -128",
            ),
            (replace(tensor, dtype="uint8", zero_point=1), "the manifest says uint8 [1, 6, 5, 3]"),
            (replace(tensor, scale=tensor.scale * 1.001), "scale 0.003925"),
            (replace(tensor, zero_point=0), "zero point 0 for input 0, the model has int8 [1, 6, 5, 3]"),
        ):
            with pytest.raises(EdgepressError) as caught:
                engine.expect((wrong,), outputs)
            assert sentence in caught.value.what
        with pytest.raises(EdgepressError, match="the manifest lists 0 input tensors, the model has 1"):
            engine.expect((), outputs)


def test_a_missing_delegate_is_named(build):
    model = build.dense_model("int8")
    with pytest.raises(EdgepressError) as caught:
        open_engine(model, delegates=["edgetpu"])
    assert caught.value.what.startswith("the delegate 'edgetpu' cannot be loaded: libedgetpu.so.1")
    assert "libedgetpu1-std" in caught.value.remedy
    with pytest.raises(EdgepressError, match=r"the delegate '/nowhere/x\.so:a=1' cannot be loaded"):
        open_engine(model, delegates=["/nowhere/x.so:a=1"])


DELEGATE = """
#include <string.h>
#include <stdio.h>
#include <stdlib.h>
void *tflite_plugin_create_delegate(char **keys, char **values, size_t n, void (*report)(const char *)) {
    static char text[200] = "no device:";
    for (size_t i = 0; i < n; i++) sprintf(text + strlen(text), " %s=%s", keys[i], values[i]);
    report(text);
    return NULL;
}
void tflite_plugin_destroy_delegate(void *delegate) {}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="a C compiler is not installed")
def test_a_delegate_that_refuses_is_quoted_with_its_options(build, tmp_path):
    (tmp_path / "d.c").write_text("#include <stddef.h>\n" + DELEGATE)
    (tmp_path / "empty.c").write_text("int nothing;\n")
    for name in ("d", "empty"):
        subprocess.run(["gcc", "-shared", "-fPIC", f"{name}.c", "-o", f"{name}.so"], cwd=tmp_path, check=True)
    model = build.dense_model("int8")
    with pytest.raises(EdgepressError, match=r"refused to start: .*no device: device=0 cache=/tmp/c"):
        open_engine(model, delegates=[f"{tmp_path}/d.so:device=0,cache=/tmp/c"])
    with pytest.raises(EdgepressError, match=r"empty\.so' is not an external delegate of LiteRT"):
        open_engine(model, delegates=[f"{tmp_path}/empty.so"])


def test_no_engine_is_one_sentence(build, monkeypatch):
    monkeypatch.setattr(engine_module, "ENGINES", {"ai-edge-litert": "no_such_package.interpreter"})
    with pytest.raises(EdgepressError) as caught:
        open_engine(build.dense_model("int8"))
    assert caught.value.what == "no engine for .tflite models is installed"
    assert "pip install ai-edge-litert" in caught.value.remedy


def test_an_engine_that_does_not_load_is_not_taken_for_missing(build, monkeypatch, tmp_path):
    (tmp_path / "halfway").mkdir()
    (tmp_path / "halfway" / "__init__.py").write_text("")
    (tmp_path / "halfway" / "broken.py").write_text("raise ImportError('numpy.core.multiarray failed to import')")
    (tmp_path / "halfway" / "lacking.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    for module, sentence in (
        ("halfway.broken", "tflite-runtime is installed but does not load: numpy.core.multiarray failed to import"),
        ("halfway.lacking", "tflite-runtime is installed but lacks no_such_dependency"),
    ):
        monkeypatch.setattr(engine_module, "ENGINES", {"tflite-runtime": module})
        with pytest.raises(EdgepressError) as caught:
            open_engine(build.dense_model("int8"))
        assert caught.value.what == sentence


@pytest.fixture
def opened(build, tmp_path, environment):
    """Opens a float model in a process of its own: opened("xnnpack=False") -> what it left on stderr."""
    (tmp_path / "m.tflite").write_bytes(build.dense_model("float32"))

    def run(options, **how):
        code = f"from edgepress_runtime.engine import open_engine; open_engine('m.tflite', {options}); print('open')"
        command = [sys.executable, "-c", code]
        how = {"stderr": subprocess.PIPE, **how}
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True, **how
        )
        assert done.stdout == "open\n"
        return done.stderr

    return run


def test_xnnpack_is_on_by_default_and_can_be_turned_off(opened):
    assert "XNNPACK delegate" in opened("verbose=True")
    assert "XNNPACK delegate" not in opened("verbose=True, xnnpack=False")


def test_the_engine_s_chatter_stays_off_stderr_even_a_closed_one(opened):
    assert opened("") == ""
    opened("", stderr=None, preexec_fn=lambda: os.close(2))


def test_default_threads_are_what_the_process_may_use(build):
    with open_engine(build.dense_model("int8")) as engine:
        assert engine.threads == min(4, len(os.sched_getaffinity(0)))
