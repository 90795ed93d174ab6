"""Pictures to model input: the one preprocessing of training and board.

Pillow decodes and resamples (with integer arithmetic, so the pixels are the same on every machine); the rest is numpy.
"""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec, TensorSpec

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
MAX_PIXELS = 100_000_000  # a 100-megapixel picture decodes to 300 MB, the most a small board can be asked for


# What Pillow's decoders are known to raise on damaged files besides OSError; its bomb error is a plain Exception.
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, MemoryError, TypeError, LookupError, ArithmeticError, AttributeError,
    AssertionError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip


class ImageError(EdgepressError):
    """A picture that cannot be decoded; `what` names it."""


def decode(source: str | os.PathLike[str] | IO[bytes], channels: int) -> Image:
    """The first frame of a picture, upright, as mode `L` (`channels` 1) or `RGB` (3).

    16-bit grey is scaled to 8 bits; palettes, CMYK, YCbCr and transparency (over black) become true colours.
    Raises ImageError for anything truncated, unknown or larger than 100 megapixels.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise EdgepressError("decoding pictures needs Pillow", "pip install 'edgepress-runtime[image]'") from None
    name = "the picture"
    if isinstance(source, (str, os.PathLike)):
        name = Path(source).name
        if Path(source).exists() and not (Path(source).is_file() or Path(source).is_dir()):
            raise ImageError(f"{name} is not a plain file")  # opening a named pipe would wait for its writer
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata that does not touch the pixels
            with Image.open(source) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ImageError(f"{name} has {image.width}x{image.height} pixels, more than 100 megapixels")
                image.seek(0)
                image.load()
                deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
                upright = ImageOps.exif_transpose(image)
        return _to_mode(upright, "L" if channels == 1 else "RGB", deep=deep)
    except Image.DecompressionBombError:
        raise ImageError(f"{name} has more than 100 megapixels") from None
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not a picture that Pillow can read", "remove or convert it") from None
    except FileNotFoundError:
        raise ImageError(f"{name} does not exist") from None
    except ImageError:
        raise
    except PermissionError:
        raise ImageError(f"{name} may not be read by this user") from None
    except IsADirectoryError:
        raise ImageError(f"{name} is a folder, not a picture") from None
    except _BROKEN as error:
        raise ImageError(f"{name} cannot be decoded: {error}", "it may be truncated; copy it again") from None


def _to_mode(image: Image, mode: str, *, deep: bool) -> Image:
    """`image` as `L` or `RGB`. `deep`: its grey values are 16 bits wide."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        # Pillow's own conversion clips 16-bit values to 255: scale by the range of the format instead.
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        top = 65535.0 if deep or values.max(initial=0) > 255 else 255.0
        if image.mode == "F" and values.max(initial=0) <= 1:
            top = 1.0
        grey = np.clip(np.rint(values * (255.0 / top)), 0, 255).astype(np.uint8)
        image = Image.fromarray(grey)
    elif image.mode in ("P", "PA", "RGBA", "LA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.new("RGB", rgba.size)
        image.paste(rgba, mask=rgba.getchannel("A"))
    return image if image.mode == mode else image.convert(mode)


def fit(image: Image, spec: ImageSpec) -> np.ndarray:
    """`image` brought to the model's size: (height, width, channels) uint8."""
    from PIL import Image, ImageOps

    size = (spec.width, spec.height)
    if image.size != size:
        if spec.fit == "crop":
            image = ImageOps.fit(image, size, Image.Resampling.BILINEAR)
        elif spec.fit == "pad":
            image = ImageOps.pad(image, size, Image.Resampling.BILINEAR)
        else:
            image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[:, :, np.newaxis] if pixels.ndim == 2 else pixels


def load_pixels(source: str | os.PathLike[str] | IO[bytes], spec: ImageSpec) -> np.ndarray:
    """A picture file at the model's size: (height, width, channels) uint8. Raises ImageError."""
    return fit(decode(source, spec.channels), spec)


def normalize(pixels: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """(..., height, width, channels) uint8 -> float32 of the same shape: `(pixel - mean) / std`."""
    mean = np.asarray(spec.mean, np.float32)
    std = np.asarray(spec.std, np.float32)
    return (pixels.astype(np.float32) - mean) / std


def lookup(spec: ImageSpec, tensor: TensorSpec) -> np.ndarray:
    """What each of the 256 pixel values becomes in the model's input: (256, channels) of the tensor's dtype.

    Normalisation and quantization are functions of one byte, so a table of both is exact and costs no arithmetic.
    `stored = clip(round(real / scale) + zero_point)`, rounding half to even.
    """
    values = np.repeat(np.arange(256, dtype=np.uint8)[:, np.newaxis], spec.channels, axis=1)
    return quantize(normalize(values, spec), tensor)


def quantize(real: np.ndarray, tensor: TensorSpec) -> np.ndarray:
    """Real numbers as the tensor stores them, saturating at the ends of its dtype."""
    dtype = np.dtype(tensor.dtype)
    if dtype.kind == "f":
        return real.astype(dtype)
    limits = np.iinfo(dtype)
    # An integer tensor without a scale stores the real numbers themselves, rounded.
    scale, zero_point = tensor.scale or 1.0, tensor.zero_point or 0
    stored = np.rint(real.astype(np.float32) / np.float32(scale)) + zero_point
    return np.clip(stored, limits.min, limits.max).astype(dtype)
