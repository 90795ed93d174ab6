"""Pictures: odd kinds come out as a person sees them, and the same pixels on every machine."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgepress_runtime.image import ImageError, decode, fit, load_pixels, lookup, normalize, quantize
from edgepress_runtime.manifest import ImageSpec, TensorSpec

ORANGE = (250, 130, 10)


def encoded(image: Image.Image, kind: str, **options) -> io.BytesIO:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    buffer.seek(0)
    return buffer


def pixels_of(source, channels=3) -> np.ndarray:
    return np.asarray(decode(source, channels))


def ramp16() -> np.ndarray:
    """(16, 256) of uint16: every column a multiple of 257, so that its 8-bit value is its number."""
    return (np.arange(256, dtype=np.uint16) * 257)[np.newaxis].repeat(16, axis=0)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> io.BytesIO:
    """A PNG by the specification, for kinds that Pillow cannot write. `rows` include their filter bytes."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in parts:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return io.BytesIO(data)


# ---- kinds of pictures


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_is_scaled_not_clipped(kind):
    if kind == "PPM":  # old Pillow reads it but cannot write it
        file = io.BytesIO(b"P5\n256 16\n65535\n" + ramp16().astype(">u2").tobytes())
    else:
        file = encoded(Image.fromarray(ramp16()), kind)
    np.testing.assert_array_equal(pixels_of(file, 1)[0], np.arange(256))
    file.seek(0)
    np.testing.assert_array_equal(pixels_of(file, 3)[0], np.arange(256)[:, np.newaxis].repeat(3, axis=1))


def test_a_dark_16_bit_picture_stays_dark():
    dark = np.full((4, 4), 200, np.uint16)  # 200 of 65535 is black
    for kind in ("PNG", "TIFF"):
        assert pixels_of(encoded(Image.fromarray(dark), kind), 1).max() <= 1


def test_16_bit_colour_png():
    rows = b"".join(
        b"\0" + b"".join(struct.pack(">HHH", *(v * 257 for v in ORANGE)) for _ in range(4)) for _ in range(3)
    )
    found = pixels_of(png(4, 3, 16, 2, rows))
    assert found.shape == (3, 4, 3)
    assert (found == ORANGE).all()


def test_palette_gives_colours_not_indices():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *ORANGE] + [9] * 750)
    for kind in ("PNG", "GIF", "BMP"):
        assert (pixels_of(encoded(image, kind)) == ORANGE).all(), kind


def test_palette_with_transparency_is_over_black():
    image = Image.new("P", (2, 1))
    image.putpalette([*ORANGE, 255, 255, 255] + [0] * 750)
    image.putpixel((1, 0), 1)
    found = pixels_of(encoded(image, "PNG", transparency=1))
    np.testing.assert_array_equal(found[0], [ORANGE, (0, 0, 0)])


def test_alpha_is_blended_over_black():
    image = Image.new("RGBA", (2, 1), (*ORANGE, 255))
    image.putpixel((1, 0), (200, 100, 50, 128))
    found = pixels_of(encoded(image, "PNG"))
    np.testing.assert_array_equal(found[0, 0], ORANGE)
    np.testing.assert_allclose(found[0, 1], np.array([200, 100, 50]) * 128 / 255, atol=1)


def test_grey_with_alpha_and_one_bit():
    grey = Image.new("LA", (2, 1), (90, 255))
    grey.putpixel((1, 0), (90, 0))
    np.testing.assert_array_equal(pixels_of(encoded(grey, "PNG"), 1), [[90, 0]])
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    np.testing.assert_array_equal(pixels_of(encoded(bits, "PNG"), 1), [[0, 255]])


def test_a_transparent_colour_of_a_true_colour_png():
    image = Image.new("RGB", (2, 1), ORANGE)
    image.putpixel((1, 0), (1, 2, 3))
    found = pixels_of(encoded(image, "PNG", transparency=(1, 2, 3)))
    np.testing.assert_array_equal(found[0], [ORANGE, (0, 0, 0)])


def test_cmyk_jpeg_and_tiff():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    for kind in ("JPEG", "TIFF"):
        np.testing.assert_allclose(pixels_of(encoded(image, kind)), np.full((16, 16, 3), (255, 0, 0)), atol=3)


def test_lab_keeps_its_lightness():
    image = Image.new("LAB", (4, 4), (180, 128, 128))  # L 70 %, no colour: light grey
    found = pixels_of(encoded(image, "TIFF"))
    assert int(np.ptp(found)) <= 3
    assert 165 <= int(found.mean()) <= 177


def test_float_tiff_in_the_unit_range():
    values = np.linspace(0, 1, 256, dtype=np.float32)[np.newaxis].repeat(2, axis=0)
    values[1, 0] = np.nan
    np.testing.assert_array_equal(pixels_of(encoded(Image.fromarray(values), "TIFF"), 1)[0], np.arange(256))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_brings_the_picture_upright(orientation):
    upright = np.zeros((8, 16, 3), np.uint8)
    upright[:4, :4] = 255  # a white square at the top left
    # How a camera that was turned this way stores it: the inverse of what EXIF tells the reader to do.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif)
    np.testing.assert_array_equal(pixels_of(file), upright)


def test_the_first_frame_of_an_animation():
    frames = [Image.new("RGB", (8, 8), colour) for colour in (ORANGE, (0, 0, 255))]
    file = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100, loop=0)
    np.testing.assert_allclose(pixels_of(file), np.full((8, 8, 3), ORANGE), atol=4)


def test_red_stays_red(tmp_path):
    Image.new("RGB", (10, 10), ORANGE).save(tmp_path / "orange.png")
    spec = ImageSpec(4, 4, 3, (0.0,) * 3, (1.0,) * 3)
    assert (load_pixels(tmp_path / "orange.png", spec) == ORANGE).all()


# ---- broken pictures


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF"])
def test_every_truncation_is_an_image_error(tmp_path, kind):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind).getvalue()
    path = tmp_path / f"cut.{kind.lower()}"
    for length in range(0, len(data) - 40, max(1, len(data) // 60)):
        path.write_bytes(data[:length])
        with pytest.raises(ImageError) as caught:
            pixels_of(path)
        assert caught.value.what.startswith(f"cut.{kind.lower()} ")
        assert "\n" not in caught.value.what


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_damaged_bytes_give_pixels_or_an_image_error(kind):
    rng = np.random.default_rng(1)
    data = encoded(Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)), kind).getvalue()
    for _ in range(150):
        damaged = bytearray(data)
        for at in rng.integers(0, min(len(data), 400), 3):
            damaged[at] = rng.integers(0, 256)
        try:
            assert pixels_of(io.BytesIO(bytes(damaged))).dtype == np.uint8
        except ImageError:
            pass


def test_files_that_are_no_pictures(tmp_path):
    (tmp_path / "a.png").write_text("hello")
    (tmp_path / "d.png").mkdir()
    for name, sentence in (
        ("a.png", "a.png is not a picture that Pillow can read"),
        ("b.png", "b.png does not exist"),
        ("d.png", "d.png is a folder, not a picture"),
    ):
        with pytest.raises(ImageError) as caught:
            decode(tmp_path / name, 3)
        assert caught.value.what == sentence


def test_a_decompression_bomb_is_refused_before_it_is_decoded():
    with pytest.raises(ImageError, match="100 megapixels"):
        decode(png(60_000, 60_000, 8, 0, b"\0" * 1000), 1)
    with pytest.raises(ImageError, match="100 megapixels"):
        decode(png(10_001, 10_000, 8, 0, b"\0" * 1000), 1)


# ---- fitting


def test_fits_by_hand():
    image = Image.fromarray(np.array([[10, 20, 30, 40]] * 2, np.uint8))
    square = {"height": 2, "width": 2, "channels": 1, "mean": (0.0,), "std": (1.0,)}
    np.testing.assert_array_equal(fit(image, ImageSpec(**square, fit="crop"))[..., 0], [[20, 30], [20, 30]])
    padded = fit(image, ImageSpec(**square, fit="pad"))[..., 0]
    assert padded.shape == (2, 2)
    stretched = fit(image, ImageSpec(**square, fit="stretch"))[..., 0]
    np.testing.assert_allclose(stretched, [[16, 34], [16, 34]], atol=1)


def test_pad_keeps_the_whole_picture_on_black():
    image = Image.new("RGB", (40, 10), ORANGE)
    found = fit(image, ImageSpec(20, 20, 3, (0.0,) * 3, (1.0,) * 3, "pad"))
    rows = (found == ORANGE).all(axis=(1, 2))
    assert rows.sum() == 5 and rows[7:12].sum() >= 4
    assert (found[~rows] == 0).all()


# Pillow resamples with integers, so these hold on every machine and for every version since 9.4. A change here means
# that boards in the field would prepare pictures differently from the models that they run.
GOLDEN = {
    "stretch": "74b9635af953b72e",
    "crop": "c828bacd85952ede",
    "pad": "0a4d981ba9ba130a",
}


@pytest.mark.parametrize("way", GOLDEN)
def test_resizing_gives_the_same_pixels_everywhere(way):
    y, x = np.mgrid[0:97, 0:131]
    picture = np.stack([(x * 7 + y * 3) % 256, (x * y) % 256, (x ^ y) % 256], axis=-1).astype(np.uint8)
    found = fit(Image.fromarray(picture), ImageSpec(32, 24, 3, (0.0,) * 3, (1.0,) * 3, way))
    assert hashlib.sha256(found.tobytes()).hexdigest()[:16] == GOLDEN[way]


# ---- numbers


@given(
    mean=st.lists(st.floats(-300, 300), min_size=3, max_size=3),
    std=st.lists(st.floats(0.01, 300), min_size=3, max_size=3),
    dtype=st.sampled_from(["int8", "uint8", "int16", "float32"]),
    scale=st.floats(1e-5, 10),
    zero=st.integers(0, 127),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_the_table_equals_normalising_then_quantizing(mean, std, dtype, scale, zero, seed):
    spec = ImageSpec(5, 4, 3, tuple(mean), tuple(std))
    quantized = dtype != "float32"
    tensor = TensorSpec("x", (1, 5, 4, 3), dtype, scale if quantized else None, zero if quantized else None)
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 4, 3), np.uint8)
    table = lookup(spec, tensor)
    assert (table.shape, table.dtype.name) == ((256, 3), dtype)
    by_table = table[pixels, np.arange(3)]
    np.testing.assert_array_equal(by_table, quantize(normalize(pixels, spec), tensor))
    # An independent truth, one pixel at a time in Python's own arithmetic.
    real = (float(pixels[2, 1, 0]) - mean[0]) / std[0]
    if quantized:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        exact = min(max(real / scale + zero, low), high)
        assert abs(float(by_table[2, 1, 0]) - exact) <= 0.5 + 1e-3 + abs(exact) * 1e-5
    else:
        assert by_table[2, 1, 0] == pytest.approx(real, rel=1e-5, abs=1e-5)


def test_quantizing_saturates_and_rounds():
    tensor = TensorSpec("x", (4,), "int8", 1.0, 0)
    found = quantize(np.array([-1000, -128.4, -0.4, 0.6, 127.4, 1e30], np.float32), tensor)
    np.testing.assert_array_equal(found, [-128, -128, 0, 1, 127, 127])
    raw = TensorSpec("x", (4,), "uint8")
    np.testing.assert_array_equal(quantize(np.array([-5, 0.6, 254.6, 300], np.float32), raw), [0, 1, 255, 255])
