"""Augmentation of pictures in batches, inside the TensorFlow graph, described by one line.

`flip-h, shift:0.1, rotate:15, brightness:0.1, cutout:0.25, mixup:0.2`. All geometry becomes one affine map a picture,
so pixels are resampled once; then colours; then mixing, which changes the targets too. Random numbers are stateless:
the same seed and step give the same batch, so a resumed training sees what the uninterrupted one would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf

from edgepress_runtime.errors import EdgepressError
from edgepress_train import spec

# TensorFlow ships no types that a checker could follow; these names say what travels
Images: TypeAlias = Any  # (n, height, width, channels) float32 in 0..255
Targets: TypeAlias = Any  # (n, classes) float32
Augment = Callable[[Images, Targets, tf.Tensor], tuple[Images, Targets]]


class Draws:
    """A stream of independent stateless random numbers from one seed, (2,) int32."""

    def __init__(self, seed: tf.Tensor) -> None:
        self._seed = seed
        self._count = 0

    def next_seed(self) -> tf.Tensor:
        self._count += 1
        return tf.random.experimental.stateless_fold_in(self._seed, self._count)

    def uniform(self, shape: Any, low: float, high: float) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, self.next_seed(), low, high)

    def sign(self, n: tf.Tensor) -> tf.Tensor:
        return tf.where(self.uniform([n], 0.0, 1.0) < 0.5, -1.0, 1.0)

    def beta(self, n: tf.Tensor, alpha: float) -> tf.Tensor:
        """(n,) draws of Beta(alpha, alpha), by two gamma draws."""
        a = tf.random.stateless_gamma([n], self.next_seed(), alpha)
        b = tf.random.stateless_gamma([n], self.next_seed(), alpha)
        return a / tf.maximum(a + b, 1e-12)


def _matrix(n: tf.Tensor, *, a: Any = 1.0, b: Any = 0.0, tx: Any = 0.0, c: Any = 0.0, d: Any = 1.0, ty: Any = 0.0):
    """(n, 3, 3): x' = a x + b y + tx, y' = c x + d y + ty, about the centre of the picture, in pixels."""
    entries = [tf.broadcast_to(tf.cast(value, tf.float32), [n]) for value in (a, b, tx, c, d, ty, 0.0, 0.0, 1.0)]
    return tf.reshape(tf.stack(entries, axis=1), [n, 3, 3])


def flip_h(draws: Draws, n: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Mirror half of the pictures left to right."""
    return _matrix(n, a=draws.sign(n))


def flip_v(draws: Draws, n: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Mirror half of the pictures top to bottom."""
    return _matrix(n, d=draws.sign(n))


def transpose(draws: Draws, n: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Swap rows and columns of half of the pictures; with both flips, all eight symmetries of a square."""
    swap = tf.cast(draws.uniform([n], 0.0, 1.0) < 0.5, tf.float32)
    return _matrix(n, a=1 - swap, b=swap, c=swap, d=1 - swap)


def rotate(draws: Draws, n: tf.Tensor, size: tf.Tensor, *, degrees: float = 15.0) -> tf.Tensor:
    """Turn by up to `degrees` either way."""
    angle = draws.uniform([n], -degrees, degrees) * (3.14159265 / 180)
    return _matrix(n, a=tf.cos(angle), b=-tf.sin(angle), c=tf.sin(angle), d=tf.cos(angle))


def shift(draws: Draws, n: tf.Tensor, size: tf.Tensor, *, fraction: float = 0.1) -> tf.Tensor:
    """Move by up to `fraction` of the size, in both directions, between pixels too."""
    return _matrix(
        n,
        tx=draws.uniform([n], -fraction, fraction) * size[1],
        ty=draws.uniform([n], -fraction, fraction) * size[0],
    )


def shift_pixels(draws: Draws, n: tf.Tensor, size: tf.Tensor, *, pixels: int = 4) -> tf.Tensor:
    """Move by up to `pixels` whole pixels in both directions (the usual pad-and-crop)."""
    bound = pixels + 0.499
    return _matrix(n, tx=tf.round(draws.uniform([n], -bound, bound)), ty=tf.round(draws.uniform([n], -bound, bound)))


def zoom(draws: Draws, n: tf.Tensor, size: tf.Tensor, *, fraction: float = 0.1) -> tf.Tensor:
    """Scale by a factor of `1 - fraction` to `1 + fraction`, the same for both axes."""
    scale = 1.0 / draws.uniform([n], 1 - fraction, 1 + fraction)
    return _matrix(n, a=scale, d=scale)


def stretch(draws: Draws, n: tf.Tensor, size: tf.Tensor, *, fraction: float = 0.1) -> tf.Tensor:
    """Change the aspect ratio by a factor of up to `1 + fraction` either way."""
    bound = float(fraction)
    factor = tf.exp(draws.uniform([n], -bound, bound) / 2)
    return _matrix(n, a=factor, d=1 / factor)


def crop(draws: Draws, n: tf.Tensor, size: tf.Tensor, *, smallest: float = 0.25) -> tf.Tensor:
    """Show a part of `smallest` to all of the area, in a ratio of sides of 3:4 to 4:3, at the full size.

    Szegedy et al. 2015, arXiv:1409.4842, section 6; what a contrastive method learns most from.
    """
    side = tf.sqrt(draws.uniform([n], min(float(smallest), 1.0), 1.0))
    bound = math.log(4 / 3) / 2
    ratio = tf.exp(draws.uniform([n], -bound, bound))
    width, height = tf.minimum(side * ratio, 1.0), tf.minimum(side / ratio, 1.0)
    return _matrix(
        n,
        a=width,
        tx=draws.uniform([n], -0.5, 0.5) * (1 - width) * size[1],
        d=height,
        ty=draws.uniform([n], -0.5, 0.5) * (1 - height) * size[0],
    )


def brightness(draws: Draws, images: Images, *, fraction: float = 0.1) -> Images:
    """Add up to `fraction` of the full range, the same for all pixels of a picture."""
    return images + 255 * draws.uniform([tf.shape(images)[0], 1, 1, 1], -fraction, fraction)


def contrast(draws: Draws, images: Images, *, fraction: float = 0.1) -> Images:
    """Scale the distance from the picture's mean by `1 - fraction` to `1 + fraction`."""
    mean = tf.reduce_mean(images, axis=[1, 2, 3], keepdims=True)
    return mean + (images - mean) * draws.uniform([tf.shape(images)[0], 1, 1, 1], 1 - fraction, 1 + fraction)


def colour(draws: Draws, images: Images, *, fraction: float = 0.2) -> Images:
    """Scale the distance from grey (saturation) by `1 - fraction` to `1 + fraction`; grey pictures stay as they are."""
    grey = tf.reduce_mean(images, axis=3, keepdims=True)
    return grey + (images - grey) * draws.uniform([tf.shape(images)[0], 1, 1, 1], 1 - fraction, 1 + fraction)


def hue(draws: Draws, images: Images, *, degrees: float = 30.0) -> Images:
    """Turn the colours about the axis of greys by up to `degrees` either way; pictures of one channel stay.

    A rotation about (1, 1, 1) by Rodrigues' formula; unlike a change of H in HSV it is one matrix a picture.
    """
    if images.shape[-1] != 3:
        return images
    angle = draws.uniform([tf.shape(images)[0]], -degrees, degrees) * (math.pi / 180)
    share, cross = (1 - tf.cos(angle)) / 3, tf.sin(angle) / math.sqrt(3)
    rows = [[share + tf.cos(angle), share - cross, share + cross]]
    rows += [[share + cross, share + tf.cos(angle), share - cross], [share - cross, share + cross, rows[0][0]]]
    turn = tf.stack([tf.stack(row, axis=-1) for row in rows], axis=-2)
    return tf.einsum("nij,nhwj->nhwi", turn, images)


def grey(draws: Draws, images: Images, *, share: float = 0.2) -> Images:
    """Take the colour out of this share of the pictures (their luma, ITU-R BT.601); those of one channel stay."""
    if images.shape[-1] != 3:
        return images
    luma = tf.tensordot(images, tf.constant([[0.299], [0.587], [0.114]]), axes=1)
    plain = draws.uniform([tf.shape(images)[0], 1, 1, 1], 0.0, 1.0) < share
    return tf.where(plain, tf.repeat(luma, 3, axis=3), images)


def noise(draws: Draws, images: Images, *, sigma: float = 0.02) -> Images:
    """Add Gaussian noise of standard deviation up to `sigma` of the full range."""
    strength = draws.uniform([tf.shape(images)[0], 1, 1, 1], 0.0, 255 * sigma)
    return images + strength * tf.random.stateless_normal(tf.shape(images), draws.next_seed())


def cutout(draws: Draws, images: Images, *, fraction: float = 0.25) -> Images:
    """Paint a square of side `fraction` of the height with the picture's mean (DeVries & Taylor 2017)."""
    shape = tf.shape(images)
    inside = _box(draws, shape, tf.fill([shape[0]], float(fraction)))
    mean = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    return images * (1 - inside) + mean * inside


def mixup(draws: Draws, images: Images, targets: Targets, *, alpha: float = 0.2) -> tuple[Images, Targets]:
    """Blend each picture with another, targets alike, by Beta(alpha, alpha) (Zhang et al. 2018, arXiv:1710.09412)."""
    share = draws.beta(tf.shape(images)[0], alpha)
    wide = share[:, None, None, None]
    mixed = wide * images + (1 - wide) * images[::-1]
    return mixed, share[:, None] * targets + (1 - share[:, None]) * targets[::-1]


def cutmix(draws: Draws, images: Images, targets: Targets, *, alpha: float = 1.0) -> tuple[Images, Targets]:
    """Paste a box of another picture, targets mixed by area (Yun et al. 2019, arXiv:1905.04899)."""
    shape = tf.shape(images)
    inside = _box(draws, shape, tf.sqrt(1 - draws.beta(shape[0], alpha)))
    share = 1 - tf.reduce_mean(inside, axis=[1, 2, 3])[:, None]
    mixed = images * (1 - inside) + images[::-1] * inside
    return mixed, share * targets + (1 - share) * targets[::-1]


def _box(draws: Draws, shape: tf.Tensor, side: tf.Tensor) -> tf.Tensor:
    """(n, height, width, 1): 1 inside a box of `side` (n,) times the size at a random centre, clipped at the edge."""
    n = shape[0]

    def inside(length: tf.Tensor) -> tf.Tensor:
        size = tf.cast(length, tf.float32)
        centre = draws.uniform([n, 1], 0.0, 1.0) * size
        return tf.cast(tf.abs(tf.range(size) + 0.5 - centre) < side[:, None] * size / 2, tf.float32)

    return (inside(shape[1])[:, :, None] * inside(shape[2])[:, None, :])[..., None]


GEOMETRY: dict[str, Callable[..., tf.Tensor]] = {
    "flip-h": flip_h,
    "flip-v": flip_v,
    "transpose": transpose,
    "rotate": rotate,
    "shift": shift,
    "shift-pixels": shift_pixels,
    "zoom": zoom,
    "stretch": stretch,
    "crop": crop,
}
COLOUR: dict[str, Callable[..., Images]] = {
    "brightness": brightness,
    "contrast": contrast,
    "colour": colour,
    "hue": hue,
    "grey": grey,
    "noise": noise,
    "cutout": cutout,
}
MIXING: dict[str, Callable[..., tuple[Images, Targets]]] = {"mixup": mixup, "cutmix": cutmix}
FILLS = ("reflect", "nearest", "constant", "wrap")
_WHOLE_PIXELS = {"flip-h", "flip-v", "transpose", "shift-pixels"}  # these land on pixels: no interpolation needed


def build(text: str) -> Augment:
    """The augmentation that `text` describes: (images, targets, seed (2,) int32) -> (images, targets).

    `fill:reflect|nearest|constant|wrap` says what comes in from outside the picture (default reflect). Several mixing
    steps take turns, one a batch. Raises EdgepressError for an unknown step or option.
    """
    table: dict[str, Callable[..., Any]] = {**GEOMETRY, **COLOUR, **MIXING, "fill": _fill}
    geometry, colours, mixing, fill = [], [], [], "reflect"
    for step in spec.parse(text):
        function = spec.choose(step, table, kind="augmentation")
        options = spec.bind(step, function, kind="augmentation")
        for name, value in options.items():
            if isinstance(value, (int, float)) and not 0 <= value < math.inf:
                raise EdgepressError(f"augmentation {step.name!r}: {name} is {value}", "give a number from 0 up")
        if step.name == "fill":
            fill = _fill(**options)
        elif step.name in GEOMETRY:
            geometry.append((step.name, function, options))
        elif step.name in COLOUR:
            colours.append((function, options))
        else:
            mixing.append((function, options))
    exact = all(name in _WHOLE_PIXELS for name, _, _ in geometry)

    def augment(images: Images, targets: Targets, seed: tf.Tensor) -> tuple[Images, Targets]:
        draws = Draws(seed)
        if geometry:
            matrices = [function(draws, *_sizes(images), **options) for _, function, options in geometry]
            images = _warp(images, matrices, interpolation="NEAREST" if exact else "BILINEAR", fill=fill.upper())
        for function, options in colours:
            images = function(draws, images, **options)
        images = tf.clip_by_value(images, 0.0, 255.0)
        if len(mixing) == 1:
            function, options = mixing[0]
            return function(draws, images, targets, **options)
        if mixing:
            turn = tf.cast(draws.uniform([], 0.0, float(len(mixing))), tf.int32)
            branches = [lambda f=f, o=o: f(draws, images, targets, **o) for f, o in mixing]
            return tf.switch_case(turn, branches)
        return images, targets

    return augment


def _fill(*, mode: str = "reflect") -> str:
    if mode not in FILLS:
        raise EdgepressError(f"unknown fill {mode!r}", f"known: {', '.join(FILLS)}")
    return mode


def _sizes(images: Images) -> tuple[tf.Tensor, tf.Tensor]:
    shape = tf.shape(images)
    return shape[0], tf.cast(shape[1:3], tf.float32)


def _warp(images: Images, matrices: list[tf.Tensor], *, interpolation: str, fill: str) -> Images:
    n, size = _sizes(images)
    centre = (size - 1) / 2
    whole = _matrix(n, tx=centre[1], ty=centre[0])
    for matrix in matrices:
        whole = whole @ matrix
    whole = whole @ _matrix(n, tx=-centre[1], ty=-centre[0])
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=tf.reshape(whole, [n, 9])[:, :8],
        output_shape=tf.shape(images)[1:3],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode=fill,
    )
