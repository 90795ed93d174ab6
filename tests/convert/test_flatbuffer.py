"""Reading .tflite files, whole and damaged."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgepress_convert import flatbuffer, tflite
from edgepress_convert.flatbuffer import Tensor


def test_int4_is_unpacked_with_its_sign() -> None:
    packed = Tensor(0, "", (3,), "int4", (0.5,), (0,), bytes([0x8F, 0x07]))
    assert packed.values().tolist() == [-1, -8, 7]


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "x.tflite is not a TensorFlow Lite model"),
        (b"PK\x03\x04" + bytes(100), "x.tflite is not a TensorFlow Lite model"),
        (b"\xff\xff\xff\x7fTFL3" + bytes(100), "x.tflite is damaged or cut short"),
        (b"\x08\x00\x00\x00TFL3" + bytes(100), "x.tflite "),
    ],
)
def test_no_model_is_refused_in_one_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(flatbuffer.TfliteError) as caught:
        tflite.facts(data, name="x.tflite")
    assert caught.value.what.startswith(sentence)
    assert "\n" not in caught.value.what


@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damage_never_escapes(made: dict[str, bytes], data: st.DataObject) -> None:
    damaged = bytearray(made["int8"])
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 4))
        damaged[at : at + 4] = data.draw(
            st.sampled_from([b"\xff" * 4, b"\x00" * 4, b"\xff\xff\xff\x7f", b"\x01\x00\x00\x80"])
        )
    cut = data.draw(st.integers(0, len(damaged)))
    for candidate in (bytes(damaged), bytes(damaged[:cut])):
        try:
            tflite.facts(candidate)
        except flatbuffer.TfliteError as error:
            assert "\n" not in error.what
