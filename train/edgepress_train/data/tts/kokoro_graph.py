"""Levers for Kokoro's ONNX graph: pitch, liveliness, the length of every sound, and when each of them was said.

The published graph takes tokens, a style and a speed, and gives audio. Two tensors inside it decide the rest: the
length of each token before rounding, and the pitch curve in Hz. `add_levers` puts three nodes behind them, by editing
the file's bytes: an ONNX file is one protobuf message, in which a field that comes a second time is merged into the
first, so new nodes, inputs and outputs are simply appended; only the old tensors' producers are renamed in place.
"""

from __future__ import annotations

import struct

from edgepress_train.data.tts.voice import SpeechError

FRAME_S = 0.025  # a length of 1 is 600 samples at 24 kHz
PIVOT_HZ = 170.0  # the pitch that `liveliness` leaves where it is

LENGTHS = "/encoder/Clip_output_0"  # (1, tokens) whole frames
_RAW_LENGTHS = "/encoder/Div_output_0"  # (1, tokens) before rounding
_PITCH = "/decoder/decoder/Unsqueeze_output_0"  # (1, 1, 2 * frames) Hz, about 0 where unvoiced
_FLOAT = 1  # TensorProto.DataType


def add_levers(model: bytes) -> bytes:
    """The graph with inputs `pitch` (1,), `liveliness` (1,), `stretch` (tokens,) and the output `LENGTHS`.

    pitch_hz' = pitch * max(pitch_hz, 0) ** liveliness, length' = round(stretch * length). With ones everywhere the
    audio is the published graph's, bit for bit. Raises SpeechError for another graph.
    """
    model, pitch = _rename_producer(model, _PITCH)
    model, lengths = _rename_producer(model, _RAW_LENGTHS)
    graph = (
        _node("Max", (pitch, "lever_floor"), "lever_positive")
        + _node("Pow", ("lever_positive", "liveliness"), "lever_shaped")
        + _node("Mul", ("lever_shaped", "pitch"), _PITCH)
        + _node("Mul", (lengths, "stretch"), _RAW_LENGTHS)
        + _constant("lever_floor", 1e-3)
        + _input("pitch", 1)
        + _input("liveliness", 1)
        + _input("stretch", "sequence_length")
        + _field(12, _field(1, LENGTHS.encode()))
    )
    return model + _field(7, graph)


def _rename_producer(model: bytes, tensor: str) -> tuple[bytes, str]:
    """Give the output of the one node that makes `tensor` another name of the same length."""
    other = tensor[:-1] + "#"
    found = _field(2, tensor.encode())  # NodeProto.output; inputs are field 1
    if model.count(found) != 1:
        raise SpeechError("this Kokoro model has another graph than the one that edgepress knows")
    return model.replace(found, _field(2, other.encode())), other


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(payload)) + payload


def _whole(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _node(kind: str, inputs: tuple[str, ...], output: str) -> bytes:
    names = b"".join(_field(1, name.encode()) for name in inputs)
    return _field(1, names + _field(2, output.encode()) + _field(4, kind.encode()))


def _constant(name: str, value: float) -> bytes:
    """A float32 initializer of shape (1,)."""
    return _field(5, _whole(1, 1) + _whole(2, _FLOAT) + _field(8, name.encode()) + _field(9, struct.pack("<f", value)))


def _input(name: str, size: int | str) -> bytes:
    """A float32 graph input of shape (size,)."""
    axis = _field(2, size.encode()) if isinstance(size, str) else _whole(1, size)
    tensor = _whole(1, _FLOAT) + _field(2, _field(1, axis))
    return _field(11, _field(1, name.encode()) + _field(2, _field(1, tensor)))
