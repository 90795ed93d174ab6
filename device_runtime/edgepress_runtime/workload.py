"""What `bench` times, task by task: one call of the runtime, and the same inference by the bare interpreter."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable

import numpy as np

from edgepress_runtime import classify_text, spot
from edgepress_runtime.bundle import Bundle
from edgepress_runtime.classify import Classifier, image_of
from edgepress_runtime.classify_text import TextClassifier
from edgepress_runtime.engine import Engine
from edgepress_runtime.image import lookup, quantize
from edgepress_runtime.spot import Spotter, speech_of

Call = Callable[[], object]
# Of the engine, unless told otherwise; its own default for other tasks
THREADS = {"keyword-spotting": spot.THREADS, "text-classification": classify_text.THREADS}
_SECONDS = 60  # of sound, for the cost of the whole path


@dataclass(frozen=True)
class Workload:
    """`call` is what an app does, from pixels or new sound to scores; `bare` sets, invokes and gets the same tensors.

    `step` is the part of `call` that is comparable with `bare`: all of it for a picture, for sound all but the front
    end and for text all but the cutting into pieces, which are computations of their own. `cpu_s_per_audio_s()`
    measures the whole path over a minute of sound.
    """

    call: Call
    step: Call
    bare: Call
    cpu_s_per_audio_s: Callable[[], float] | None = None


def workload(engine: Engine, bundle: Bundle) -> Workload:
    """The workload of a bundle's task. Raises EdgepressError when the manifest does not fit the engine."""
    return WORKLOADS[bundle.manifest.task](engine, bundle)


def _picture(engine: Engine, bundle: Bundle) -> Workload:
    manifest = bundle.manifest
    spec = image_of(manifest)
    pixels = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, spec.channels), np.uint8)
    classify = Classifier(engine, manifest).classify
    stored = lookup(spec, engine.inputs[0])[pixels, np.arange(spec.channels)][np.newaxis]

    def call() -> None:
        classify(pixels)

    return Workload(call, call, bare_call(engine, stored))


def _stream(engine: Engine, bundle: Bundle) -> Workload:
    manifest = bundle.manifest
    spec, _ = speech_of(engine, manifest)
    spotter = Spotter(engine, manifest)
    rng = np.random.default_rng(0)
    block = rng.integers(-3000, 3000, spotter.step_samples, np.int16)
    frames = rng.normal(0, 1, (engine.inputs[0].shape[1], spec.features)).astype(np.float32)
    stored = quantize(frames, engine.inputs[0]).reshape(engine.inputs[0].shape)

    def cost() -> float:
        steps = -(-_SECONDS * spec.rate_hz // spotter.step_samples)
        sound = rng.integers(-3000, 3000, (steps, spotter.step_samples), np.int16)
        spotter.begin()
        begin = time.process_time()
        for block in sound:
            spotter.push(block)
        return (time.process_time() - begin) * spec.rate_hz / sound.size

    return Workload(lambda: spotter.scores(block), lambda: spotter.scores_of(frames), bare_call(engine, stored), cost)


def bare_call(engine: Engine, stored: np.ndarray) -> Call:
    """Set, invoke, get on the interpreter itself; a streaming model's states go back to where they came from."""
    put, get, invoke = engine.interpreter.set_tensor, engine.interpreter.get_tensor, engine.interpreter.invoke
    source, target = engine.input_indices[0], engine.output_indices[0]
    carry = tuple(zip(engine.input_indices[1:], engine.output_indices[1:]))

    def bare() -> None:
        put(source, stored)
        invoke()
        for taken, given in carry:
            put(taken, get(given))
        get(target)

    return bare


def _text(engine: Engine, bundle: Bundle) -> Workload:
    classifier = TextClassifier(engine, bundle)
    text = "turn on the light in the living room, please"
    ids = classifier.tokenizer.encode(text)
    return Workload(
        lambda: classifier.top(text, 1), lambda: classifier.scores_of(ids), bare_call(engine, ids[np.newaxis])
    )


WORKLOADS = {"image-classification": _picture, "keyword-spotting": _stream, "text-classification": _text}
