"""Sound files: every kind that programs write, and what is said of those that hold no sound."""

from __future__ import annotations

import builtins
import gc
import io
import math
import os
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgepress_runtime import audio
from edgepress_runtime.audio import Audio, AudioError, load, mono, read

soundfile = pytest.importorskip("soundfile")

RATE = 16_000
TONE = np.rint(20_000 * np.sin(np.arange(400) * 0.3)).astype(np.int16)
RAW = TONE.astype("<i2").tobytes()
MICROSOFT = bytes.fromhex(
    "000000001000800000aa00389b71"
)  # the tail of every sub-format that WAVE_FORMAT_EXTENSIBLE names


def chunk(name: bytes, body: bytes, size: int | None = None, order: str = "<", pad: bool = True) -> bytes:
    size = len(body) if size is None else size
    return struct.pack(f"{order}4sI", name, size) + body + b"\0" * (len(body) % 2 if pad else 0)


def form(coding=1, channels=1, rate=RATE, bits=16, order="<", *, frame=None, more=b"") -> bytes:
    frame = channels * bits // 8 if frame is None else frame
    return chunk(b"fmt ", struct.pack(f"{order}HHIIHH", coding, channels, rate, rate * frame, frame, bits) + more)


def riff(*chunks: bytes, magic: bytes = b"RIFF", size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return struct.pack("<4sI", magic, len(body) if size is None else size) + body


def samples_of(data: bytes) -> np.ndarray:
    return read(io.BytesIO(data)).samples[:, 0]


# ---- kinds of WAV, against libsndfile


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_what_libsndfile_writes(tmp_path, subtype, kind, channels):
    rng = np.random.default_rng(1)
    real = np.clip(rng.normal(0, 0.5, (999, channels)), -1, 1)
    path = tmp_path / "x.wav"
    soundfile.write(path, real, 22_050, subtype, format=kind)
    found = read(path)
    truth, _ = soundfile.read(path, dtype="float64", always_2d=True)
    assert found.rate_hz == 22_050 and found.samples.dtype == np.int16
    np.testing.assert_array_equal(found.samples, np.clip(np.rint(truth * 32768), -32768, 32767))


def test_the_other_byte_order():
    for dtype, coding, bits in ((">i2", 1, 16), (">i4", 1, 32), (">f4", 3, 32), (">f8", 3, 64)):
        real = TONE.astype(np.float64) / 32768 if coding == 3 else TONE.astype(np.int64) << (bits - 16)
        body = b"WAVE" + form(coding, bits=bits, order=">").replace(b"\x10\0\0\0", b"\0\0\0\x10")
        data = b"RIFX" + bytes(4) + body + chunk(b"data", real.astype(dtype).tobytes(), order=">")
        np.testing.assert_array_equal(samples_of(data), TONE)
    octets = (TONE.astype(np.int32) << 8).astype(">i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    body = b"WAVE" + form(bits=24, order=">").replace(b"\x10\0\0\0", b"\0\0\0\x10")
    data = b"RIFX" + bytes(4) + body + chunk(b"data", octets, order=">")
    np.testing.assert_array_equal(samples_of(data), TONE)


def test_12_bits_in_two_bytes():
    np.testing.assert_array_equal(samples_of(riff(form(bits=12, frame=2), chunk(b"data", RAW))), TONE)


def test_floats_saturate():
    real = np.array([-1e30, -1.5, -1, 0, 1 - 2**-16, 1, 2, 1e300])
    found = samples_of(riff(form(3, bits=64), chunk(b"data", real.astype("<f8").tobytes())))
    np.testing.assert_array_equal(found, [-32768, -32768, -32768, 0, 32767, 32767, 32767, 32767])


# ---- ways of writing


@pytest.mark.parametrize("whole", [0, 36, 0xFFFFFFFF, 0x80000024])
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_a_pipes_open_lengths_give_all_samples(whole, size):
    np.testing.assert_array_equal(samples_of(riff(form(), chunk(b"data", RAW, size), size=whole)), TONE)


def test_an_rf64_file_ends_where_its_long_size_says():
    long_sizes = chunk(b"ds64", struct.pack("<QQQI", 0, len(RAW), len(TONE), 0))
    data = riff(long_sizes, form(), chunk(b"data", RAW, 0xFFFFFFFF), chunk(b"LIST", b"x" * 40), magic=b"RF64")
    np.testing.assert_array_equal(samples_of(data), TONE)


@pytest.mark.parametrize("pad", [True, False], ids=["padded", "unpadded"])
def test_odd_chunks_before_the_sound(pad):
    notes = [chunk(b"LIST", b"INFOxyz", pad=pad), chunk(b"bext", b"q", pad=pad), chunk(b"odd!", b"abc", pad=pad)]
    for number in range(4):
        data = riff(*notes[:number], form(), *notes[number:], chunk(b"data", RAW))
        np.testing.assert_array_equal(samples_of(data), TONE)


def test_chunks_behind_the_sound_are_no_sound():
    np.testing.assert_array_equal(samples_of(riff(form(), chunk(b"data", RAW), chunk(b"LIST", b"x" * 100))), TONE)


def test_extensible_with_24_valid_bits_of_32():
    more = struct.pack("<HHIH", 22, 24, 4, 1) + MICROSOFT
    data = riff(
        form(0xFFFE, bits=32, more=more).replace(b"\x10\0\0\0", b"\x28\0\0\0"),
        chunk(b"data", (TONE.astype("<i4") << 16).tobytes()),
    )
    np.testing.assert_array_equal(samples_of(data), TONE)


@given(st.integers(0, len(RAW) + 44))
@settings(max_examples=200, deadline=None)
def test_a_file_cut_off_anywhere_gives_its_whole_samples_or_a_sentence(length):
    data = riff(form(), chunk(b"data", RAW))[:length]
    if length >= 46:
        np.testing.assert_array_equal(samples_of(data), TONE[: (length - 44) // 2])
    else:
        with pytest.raises(AudioError):
            read(io.BytesIO(data))


def test_one_sample_is_a_sound(tmp_path):
    path = tmp_path / "click.wav"
    path.write_bytes(riff(form(), chunk(b"data", RAW[2:4])))
    np.testing.assert_array_equal(load(path, RATE), TONE[1:2])


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_no_bytes_break_the_reader(tail):
    for data in (tail, riff(tail), riff(form(), tail), riff(b"fmt \x10\0\0\0" + tail)):
        try:
            found = read(io.BytesIO(data))
        except AudioError:
            continue
        assert found.samples.dtype == np.int16 and len(found.samples) and found.samples.ndim == 2


# ---- what is no sound

OVERLONG = 4 * 3600 * 4000 + 1


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "x.wav is empty"),
        (b"RIFF", "x.wav is no WAV file, though it begins like one"),
        (riff()[:8] + b"AVI ", "x.wav is no WAV file, though it begins like one"),
        (riff(), "x.wav is a WAV file without sound: it was cut off, or never finished"),
        (riff(form()), "x.wav is a WAV file without sound: it was cut off, or never finished"),
        (riff(form(), bytes(1 << 20)), "x.wav is a WAV file without sound: it was cut off, or never finished"),
        (riff(form(), chunk(b"data", b"")), "x.wav holds no sound"),
        (riff(form(), chunk(b"data", b""), chunk(b"LIST", b"x" * 40)), "x.wav holds no sound"),
        (riff(form(), chunk(b"data", b"\1")), "x.wav holds no sound"),
        (riff(chunk(b"data", RAW), form()), "x.wav has its sound before its format"),
        (riff(chunk(b"fmt ", b"12345678"), chunk(b"data", RAW)), "x.wav has a damaged format"),
        (riff(form(channels=0), chunk(b"data", RAW)), "x.wav claims 0 channels"),
        (riff(form(channels=65, frame=130), chunk(b"data", RAW)), "x.wav claims 65 channels"),
        (riff(form(bits=40), chunk(b"data", RAW)), "x.wav claims samples of 40 bits in 5 bytes"),
        (riff(form(bits=24, frame=2), chunk(b"data", RAW)), "x.wav claims samples of 24 bits in 2 bytes"),
        (riff(form(3, bits=16), chunk(b"data", RAW)), "x.wav claims floats of 16 bits in 2 bytes"),
        (riff(form(bits=0, frame=2), chunk(b"data", RAW)), "x.wav claims samples of 0 bits in 2 bytes"),
        (riff(form(rate=3999), chunk(b"data", RAW)), "x.wav has 3999 samples a second, outside 4000 to 192000"),
        (riff(form(rate=192_001), chunk(b"data", RAW)), "x.wav has 192001 samples a second, outside 4000 to 192000"),
        (
            riff(form(rate=4000, bits=8), chunk(b"data", bytes(OVERLONG))),
            "x.wav lasts longer than four hours",
        ),
        (
            riff(form(3, bits=32), chunk(b"data", np.array([0, math.nan], "<f4").tobytes())),
            "x.wav holds samples that are no numbers (NaN or infinite)",
        ),
        (
            riff(form(3, bits=64), chunk(b"data", np.array([-math.inf], "<f8").tobytes())),
            "x.wav holds samples that are no numbers (NaN or infinite)",
        ),
        (b"hello, this is a text", "x.wav is no sound that can be read: Format not recognised."),
        (
            riff(form(0x1234), chunk(b"data", RAW)),
            "x.wav is no sound that can be read: Error in WAV/W64/RF64 file. Malformed 'fmt ' chunk.",
        ),
    ],
)
def test_what_is_said_of_damaged_files(tmp_path, data, what):
    path = tmp_path / "x.wav"
    path.write_bytes(data)
    with pytest.raises(AudioError) as caught:
        read(path)
    assert caught.value.what == what


def test_paths_that_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    large = tmp_path / "large.wav"
    with large.open("wb") as file:
        file.truncate(audio.MAX_BYTES + 1)
    for name, what in (
        ("pipe.wav", "pipe.wav is not a plain file"),
        ("folder.wav", "folder.wav is a folder, not a sound"),
        ("none.wav", "none.wav does not exist"),
        ("large.wav", "large.wav is larger than 2 GB"),
        ("a\0b.wav", "a\0b.wav does not exist"),
    ):
        with pytest.raises(AudioError) as caught:
            read(tmp_path / name)
        assert caught.value.what == what
    with pytest.raises(AudioError, match="the sound is empty"):
        read(io.BytesIO())


def test_what_is_refused_for_its_length_is_not_read_first(tmp_path):
    path = tmp_path / "x.wav"
    for channels, rate, what in (
        (1, 4000, "x.wav lasts longer than four hours"),
        (64, 4000, "x.wav has more than 2 GB"),
    ):
        with path.open("wb") as file:
            file.write(riff(form(channels=channels, rate=rate, bits=8), chunk(b"data", b"", 0x7FFFFF00)))
            file.truncate(audio.MAX_BYTES)
        tracemalloc.start()
        with pytest.raises(AudioError, match=what):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        tracemalloc.stop()


# ---- other formats


@pytest.mark.parametrize(
    ("kind", "subtype"), [("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("AIFF", "PCM_16"), ("AU", "PCM_16")]
)
def test_lossless_formats_whatever_their_ending(tmp_path, kind, subtype):
    stereo = np.stack((TONE, TONE[::-1]), axis=1)
    for name in ("x.wav", "x.raw", "x"):
        path = tmp_path / name
        soundfile.write(path, stereo, 44_100, subtype, format=kind)
        np.testing.assert_array_equal(read(path).samples, stereo)
        assert read(path).rate_hz == 44_100
        np.testing.assert_array_equal(read(io.BytesIO(path.read_bytes())).samples, stereo)


@pytest.mark.parametrize(
    ("kind", "subtype", "error"), [("OGG", "VORBIS", 0.1), ("OGG", "OPUS", 0.3), ("MP3", "MPEG_LAYER_III", 0.1)]
)
def test_lossy_formats(tmp_path, kind, subtype, error):
    if subtype not in soundfile.available_subtypes(kind):
        pytest.skip("this libsndfile does not write it")
    real = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    path = tmp_path / "x.wav"
    soundfile.write(path, real, RATE, subtype, format=kind)
    found = load(path, RATE)
    assert abs(len(found) - RATE) < 2500
    middle = found[4000:12_000] / 32768
    times = np.arange(8000) * 2 * np.pi * 440 / RATE
    level = np.hypot(middle @ np.sin(times), middle @ np.cos(times)) / 4000
    assert abs(level - 0.5) < error * 0.5


@pytest.mark.parametrize("subtype", ["ALAW", "ULAW", "IMA_ADPCM", "GSM610"])
def test_wav_with_other_codings_goes_through_soundfile(tmp_path, subtype):
    path = tmp_path / "x.wav"
    soundfile.write(path, TONE, RATE, subtype)
    truth, _ = soundfile.read(path)
    np.testing.assert_array_equal(mono(read(path)), np.clip(np.rint(truth * 32768), -32768, 32767))


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "AIFF"])
def test_other_formats_cut_off_or_damaged(tmp_path, kind):
    rng = np.random.default_rng(0)
    path = tmp_path / "x.bin"
    soundfile.write(path, rng.normal(0, 0.1, 20_000), RATE, format=kind)
    data = path.read_bytes()
    for length in range(1, len(data), len(data) // 23):
        harmed = bytearray(data)
        harmed[length : length + 8] = rng.bytes(8)
        for piece in (data[:length], bytes(harmed)):
            try:
                found = read(io.BytesIO(piece))
            except AudioError as error:
                assert error.what.startswith("the sound ")
            else:
                assert len(found.samples) <= 2_000_000


def test_a_damaged_file_that_seeks_before_its_beginning_prints_no_traceback(tmp_path, capfd):
    path = tmp_path / "x.aiff"
    soundfile.write(path, TONE, RATE)
    data = bytearray(path.read_bytes())
    data[data.index(b"SSND")] = 0
    path.write_bytes(data)
    for source in (path, io.BytesIO(data)):
        with pytest.raises(AudioError, match=r"is no sound that can be read|holds no sound"):
            read(source)
    gc.collect()
    assert "Traceback" not in capfd.readouterr().err


def test_without_soundfile_wav_is_read_and_the_rest_told(tmp_path, monkeypatch):
    path = tmp_path / "x.wav"
    flac, alaw = tmp_path / "x.flac", tmp_path / "a.wav"
    path.write_bytes(riff(form(), chunk(b"data", RAW)))
    soundfile.write(flac, TONE, RATE)
    soundfile.write(alaw, TONE, RATE, "ALAW")
    original = builtins.__import__

    def without(name, *rest):
        if name == "soundfile":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    np.testing.assert_array_equal(load(path, RATE), TONE)
    for file, what in (
        (flac, "x.flac is no WAV file, and other formats need the package soundfile"),
        (alaw, "a.wav is a WAV file coded as A-law, and other formats need the package soundfile"),
    ):
        with pytest.raises(AudioError) as caught:
            load(file, RATE)
        assert caught.value.what == what
        assert caught.value.remedy == "pip install 'edgepress-runtime[audio]'"


# ---- channels and rates


def test_channels_are_averaged_without_overflow():
    loud = np.array([[32767, 32767, 32767], [-32768, -32768, -32768], [1, 2, 2], [32767, -32768, 0]], np.int16)
    found = mono(Audio(loud, RATE))
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, [32767, -32768, 2, 0])
    long = np.random.default_rng(0).integers(-32768, 32768, (200_000, 2)).astype(np.int16)
    np.testing.assert_array_equal(mono(Audio(long, RATE)), np.rint(long.astype(np.int64).sum(axis=1) / 2))


def test_a_clip_comes_at_the_rate_that_is_asked_for(tmp_path):
    path = tmp_path / "x.wav"
    real = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44_100) / 44_100)
    soundfile.write(path, np.stack((real, real), axis=1), 44_100)
    found = load(path, RATE)
    truth = 16_384 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
    assert len(found) == RATE and found.flags.writeable
    assert np.abs(found[200:-200] - truth[200:-200]).max() < 5
