"""A bundle whose answers anyone can work out: a picture is `bright` where its mean is above 128, else `dark`."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from PIL import Image
from tests.apps.pulse import Pulse

from edgepress_convert import bundle
from edgepress_runtime.manifest import ImageSpec

LABELS = ("dark", "bright")
SPEC = ImageSpec(8, 8, 1, (128.0,), (64.0,))


def threshold_model() -> bytes:
    """(1, 8, 8, 1) float32 -> the mean, times -4 and 4 -> softmax, written as a .tflite without TensorFlow."""
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version = 3

    def constant(values: np.ndarray | None = None) -> schema.BufferT:
        buffer = schema.BufferT()
        buffer.data = None if values is None else np.frombuffer(values.astype(np.float32).tobytes(), np.uint8)
        return buffer

    def tensor(name: str, shape: tuple[int, ...], buffer: int = 0) -> schema.TensorT:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, list(shape), schema.TensorType.FLOAT32, buffer
        return made

    def operator(code: int, inputs: list[int], output: int, options: str) -> schema.OperatorT:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, inputs, [output]
        made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        made.builtinOptions = getattr(schema, f"{options}T")()
        return made

    for name in ("FULLY_CONNECTED", "SOFTMAX"):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        model.operatorCodes = [*(model.operatorCodes or []), code]
    weights = np.stack([np.full(64, -4 / 64), np.full(64, 4 / 64)])
    model.buffers = [constant(), constant(weights)]
    graph.tensors = [tensor("pixels", (1, 8, 8, 1)), tensor("weights", (2, 64), 1)]
    graph.tensors += [tensor("logits", (1, 2)), tensor("scores", (1, 2))]
    dense = operator(0, [0, 1, -1], 2, "FullyConnectedOptions")
    softmax = operator(1, [2], 3, "SoftmaxOptions")
    softmax.builtinOptions.beta = 1.0
    graph.operators, graph.inputs, graph.outputs = [dense, softmax], [0], [3]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.fixture
def bright_bundle(tmp_path: Path) -> Path:
    """`light.edge`, made with the code that ships."""
    model = threshold_model()
    cases = np.random.default_rng(0).normal(0, 1, (8, 8, 8, 1)).astype(np.float32)
    path = tmp_path / "light.edge"
    golden = bundle.golden_cases(model, cases)
    bundle.pack(
        path,
        model,
        name="light",
        task="image-classification",
        labels=LABELS,
        preprocessing=SPEC,
        golden=golden,
        created="2026-01-01T00:00:00+00:00",
    )
    return path


def picture(value: int) -> bytes:
    """A PNG of 20x10 grey pixels of `value`."""
    buffer = io.BytesIO()
    Image.new("L", (20, 10), value).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Five files: a dark one, a broken one, a bright one, a note, and a very dark one in a folder."""
    folder = tmp_path / "album"
    (folder / "night").mkdir(parents=True)
    (folder / "1-dusk.png").write_bytes(picture(60))
    (folder / "2-broken.png").write_bytes(picture(60)[:40])
    (folder / "3-noon.png").write_bytes(picture(200))
    (folder / "note.txt").write_text("not a picture", encoding="utf-8")
    (folder / "night" / "4-midnight.png").write_bytes(picture(0))
    return folder


@pytest.fixture
def pulse(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """A sound server without a sound card, to which this process and its children go for their microphone."""
    for program in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed (apt install pulseaudio pulseaudio-utils libportaudio2)")
    # Not here, where it would count the devices once and for all, before there is a server.
    if subprocess.run([sys.executable, "-c", "import sounddevice"], capture_output=True, check=False).returncode:
        pytest.skip("sounddevice does not load (pip install sounddevice; apt install libportaudio2)")
    server = Pulse(tmp_path_factory.mktemp("pulse"))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def build():
    """The builders above, for tests that need one by itself."""
    return sys.modules[__name__]
