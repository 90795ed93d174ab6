"""A picture at the model's size in, a label and its score out: the call that an app makes for every frame.

Beside an inference of 0.1 ms every Python call shows, and more so since the inference has emptied the caches. So the
call is put together once, for the tensors at hand, out of as few steps as they need.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Callable, NamedTuple

import numpy as np

from edgepress_runtime.engine import Engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import lookup
from edgepress_runtime.manifest import ImageSpec, Manifest, TensorSpec
from edgepress_runtime.tensors import reading

if TYPE_CHECKING:
    from edgepress_runtime.head import Head

_UINT8 = np.dtype(np.uint8)
_MANY_LABELS = 256  # up to so many, Python's max over bytes is faster than numpy's argmax


class Score(NamedTuple):
    """One answer: `score` is the model's output for `label`, which is number `index` of the labels."""

    label: str
    score: float
    index: int  # type: ignore[assignment]  # a field of that name hides tuple.index, which nobody misses


# The named tuple's own constructor takes three times as long.
_new_score: Callable[..., Score] = tuple.__new__


class Classifier:
    """Classifies with `engine` as `manifest` says; refuses, with EdgepressError, a manifest of another model.

    With `head` the scores are what it makes of the model's embedding, for the labels of a taught manifest.

    `classify(pixels)` gives the best Score for (height, width, channels) uint8 at the model's size. It raises
    EdgepressError for another shape or dtype, and when the model answers with something that is no number.
    """

    classify: Callable[[np.ndarray], Score]

    def __init__(self, engine: Engine, manifest: Manifest, head: Head | None = None) -> None:
        spec, labels = image_of(manifest), manifest.labels
        engine.expect(manifest.inputs, manifest.outputs)
        _fit(engine, spec, manifest, head)
        target = engine.outputs[0]
        table = lookup(spec, engine.inputs[0])
        self.labels = labels
        self._shape = (spec.height, spec.width, spec.channels)
        self._engine = engine
        self._write = writer(engine, table)
        self._scale, self._zero = target.scale or 1.0, target.zero_point or 0
        self._judge = None if head is None else _by_head(engine, manifest, head)
        if self._judge is not None:
            self.classify = lambda pixels: self.top(pixels, 1)[0]
        elif table.dtype.itemsize == 1 and target.dtype in ("int8", "uint8") and len(labels) <= _MANY_LABELS:
            self.classify = _bytes_to_bytes(engine, self._shape, labels, table=table)
        else:
            self.classify = self._classify

    def scores(self, pixels: np.ndarray) -> np.ndarray:
        """The model's output for every label: (labels,) float32. `pixels` and errors as for `classify`."""
        if pixels.shape != self._shape or pixels.dtype != _UINT8:
            raise _unfit(pixels, self._shape)
        self._write(pixels)
        self._engine.invoke()
        if self._judge is not None:
            return self._judge()
        real = (self._engine.output_view()[0].astype(np.float64) - self._zero) * self._scale
        if not np.isfinite(real).all():
            raise _no_number()
        return real.astype(np.float32)

    def top(self, pixels: np.ndarray, k: int = 5) -> tuple[Score, ...]:
        """The best `k` labels (fewer if there are fewer), best first; equal scores in the order of the labels."""
        scores = self.scores(pixels)
        order = np.argsort(-scores, kind="stable")[:k]
        return tuple(Score(self.labels[i], float(scores[i]), int(i)) for i in order)

    def _classify(self, pixels: np.ndarray) -> Score:
        """`classify` for any tensors; only the winner is dequantized."""
        if pixels.shape != self._shape or pixels.dtype != _UINT8:
            raise _unfit(pixels, self._shape)
        self._write(pixels)
        self._engine.invoke()
        stored = self._engine.output_view()
        index = stored.argmax().item()
        score = (stored.item(index) - self._zero) * self._scale
        if not isfinite(score):  # argmax finds a NaN first, so the winner tells of all
            raise _no_number()
        return Score(self.labels[index], score, index)


def embedder(engine: Engine, manifest: Manifest) -> Callable[[np.ndarray], np.ndarray]:
    """A function: (height, width, channels) uint8 at the model's size -> its embedding, (1, d) float32.

    For models with a teaching spec. Errors are those of `Classifier`.
    """
    classifier = Classifier(engine, manifest)
    read = _embedding(engine, manifest)

    def embed(pixels: np.ndarray) -> np.ndarray:
        classifier.scores(pixels)
        return read()

    return embed


def _embedding(engine: Engine, manifest: Manifest) -> Callable[[], np.ndarray]:
    assert manifest.teaching is not None
    number, size = manifest.teaching.output, manifest.teaching.size
    real = reading(engine.outputs[number])
    return lambda: real(engine.output_view(number).reshape(1, size))


def _by_head(engine: Engine, manifest: Manifest, head: Head) -> Callable[[], np.ndarray]:
    read = _embedding(engine, manifest)
    return lambda: head.scores(read())[0]


Fill = Callable[[np.ndarray, Any, np.ndarray], object]


def _bytes_to_bytes(
    engine: Engine, shape: tuple[int, ...], labels: tuple[str, ...], *, table: np.ndarray
) -> Callable[[np.ndarray], Score]:
    """`classify` where the input stores one byte a value and the output one byte a label: no float, no view."""
    source, target = engine.inputs[0], engine.outputs[0]
    fill, form = filler(table, shape)
    staged = np.empty(source.shape, np.uint8)
    pixels_of, stored = staged[0], staged.view(source.dtype)
    # int8 in the order of bytes, so that the largest byte is the best score.
    order = bytes((b + 128) % 256 if target.dtype == "int8" else b for b in range(256))
    lowest = -128 if target.dtype == "int8" else 0
    score_of = [(b + lowest - (target.zero_point or 0)) * (target.scale or 1.0) for b in range(256)]
    new, set_tensor, invoke = _new_score, engine.interpreter.set_tensor, engine.invoke
    index_of_input, output = engine.input_indices[0], engine.output_views[0]

    def classify(pixels: np.ndarray) -> Score:
        if pixels.shape != shape or pixels.dtype != _UINT8:
            raise _unfit(pixels, shape)
        fill(pixels, form, pixels_of)
        set_tensor(index_of_input, stored)
        invoke()
        answer = output().tobytes().translate(order)
        best = max(answer)
        index = answer.index(best)
        return new(Score, (labels[index], score_of[best], index))

    return classify


def filler(table: np.ndarray, shape: tuple[int, ...]) -> tuple[Fill, Any]:
    """(fill, form): `fill(pixels, form, target)` puts pixels through a one-byte `table` (256, channels) into uint8.

    `pixels` and `target` have the same `shape`; `form` is the table as `fill` wants it. Small ones win: the inference
    leaves nothing of large ones (two pixels at once, say) in the caches.
    """
    shifts = shift_of(table)
    if shifts is not None:
        same = bool((shifts == shifts[0]).all())
        return np.add, np.array(shifts[0]) if same else np.broadcast_to(shifts, shape).copy()
    columns = [column.tobytes() for column in table.T]
    return (_fill_alike, columns[0]) if len(set(columns)) == 1 else (_fill_channels, columns)


def _fill_alike(pixels: np.ndarray, column: bytes, target: np.ndarray) -> None:
    target.reshape(-1).data[:] = pixels.tobytes().translate(column)


def _fill_channels(pixels: np.ndarray, columns: list[bytes], target: np.ndarray) -> None:
    flat, stored = pixels.tobytes(), target.reshape(-1)
    for channel, column in enumerate(columns):
        part = flat[channel :: len(columns)].translate(column)
        stored[channel :: len(columns)] = np.frombuffer(part, np.uint8)


def shift_of(table: np.ndarray) -> np.ndarray | None:
    """(channels,) uint8 shifts if `table` (256, channels) stores each pixel as `pixel + shift` modulo 256, else None.

    So does every int8 model whose input range is that of the pixels: it stores `pixel - 128`.
    """
    if table.dtype.itemsize != 1:
        return None
    shift = table.view(np.uint8) - np.arange(256, dtype=np.uint8)[:, np.newaxis]
    return shift[0] if (shift == shift[0]).all() else None


def writer(engine: Engine, table: np.ndarray) -> Callable[[np.ndarray], None]:
    """A function that writes (height, width, channels) uint8 into the engine's input through `table`."""
    if (table == table[:, :1]).all():
        column = np.ascontiguousarray(table[:, 0])

        def write(pixels: np.ndarray) -> None:
            np.take(column, pixels, out=engine.input_view()[0], mode="clip")

        return write
    flat = np.ascontiguousarray(table.T).ravel()
    offsets = np.arange(table.shape[1], dtype=np.intp) * 256
    places = np.empty(engine.inputs[0].shape[1:], np.intp)

    def write_channels(pixels: np.ndarray) -> None:
        np.add(pixels, offsets, out=places)
        np.take(flat, places, out=engine.input_view()[0], mode="clip")

    return write_channels


def image_of(manifest: Manifest) -> ImageSpec:
    """How an image classifier's manifest prepares pictures. Raises EdgepressError for a model of another task."""
    spec = manifest.preprocessing
    if manifest.task != "image-classification" or not isinstance(spec, ImageSpec):
        raise EdgepressError(f"{manifest.name} is a model for {manifest.task}, not for image-classification")
    return spec


def _fit(engine: Engine, spec: ImageSpec, manifest: Manifest, head: Head | None) -> None:
    if len(engine.inputs) != 1 or len(engine.outputs) != (1 if manifest.teaching is None else 2):
        raise EdgepressError("an image classifier has one input and one output tensor")
    source: TensorSpec = engine.inputs[0]
    wanted = (1, spec.height, spec.width, spec.channels)
    if source.shape != wanted:
        raise EdgepressError(f"the manifest prepares pictures as {list(wanted)}, the model takes {list(source.shape)}")
    shape = engine.outputs[0].shape if head is None else (1, len(head.bias))
    if shape != (1, len(manifest.labels)):
        raise EdgepressError(f"the model gives {list(shape)}, but the manifest has {len(manifest.labels)} labels")


def _unfit(pixels: np.ndarray, shape: tuple[int, ...]) -> EdgepressError:
    return EdgepressError(
        f"pixels should be uint8 {list(shape)}, not {pixels.dtype.name} {list(pixels.shape)}",
        "bring the picture to the model's size with edgepress_runtime.image",
    )


def _no_number() -> EdgepressError:
    return EdgepressError(
        "the model answered with something that is no number (NaN or infinite)", "train or convert it again"
    )
