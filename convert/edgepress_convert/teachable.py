"""Bundles that can be taught on the board: the embedding as one more output, the last layer, and kept examples."""

from __future__ import annotations

import dataclasses

import numpy as np

from edgepress_convert import bundle, flatbuffer, last_layer
from edgepress_convert.convert import Finished
from edgepress_convert.examples import Examples
from edgepress_convert.importers import Source
from edgepress_convert.spotting import find_sounds, load_each
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.image import quantize as to_stored
from edgepress_runtime.manifest import DetectionSpec, Manifest, SpeechSpec
from edgepress_runtime.spot import Spotter
from edgepress_runtime.teaching import HEAD, TeachingSpec

KEPT_BYTES = 256_000  # of examples, all classes together
SOUND = 300  # steps of sound without words
SOUNDS, SOUND_S = 60, 60  # files that they come from, and seconds of each
KEPT_MOST, KEPT_LEAST = 100, 2  # of each class; with fewer than two nothing could be held out to measure on


def check_task(task: str) -> None:
    """Raise EdgepressError for a task whose models cannot be taught on the board."""
    if task not in ("image-classification", "keyword-spotting"):
        raise EdgepressError(f"models for {task} cannot be taught on the board", "leave --teachable out")


def finish(finished: Finished, model: bytes, held: Examples, source: Source, *, seed: int) -> Finished:
    """`finished` with one output more, the embedding, and `head.npz`.

    `model` is what was made of one picture or of one whole window, of which `finished.model` may be the streaming form;
    both have the same last layer. What is kept comes from `held`, validation examples with labels, which the net was
    not trained on: only those can tell later whether the old classes suffer. Of a keyword spotter, steps of validation
    sound without any word are kept, too. Raises EdgepressError where there is no dense layer before the softmax, or
    where a class has fewer than two such examples.
    """
    layer, target = last_layer.find(model), last_layer.find(finished.model)
    exposed = last_layer.expose(finished.model, target)
    graph = flatbuffer.graphs(exposed)[0]
    tensor = flatbuffer.specs(graph, graph.outputs)[-1]  # raises for a dtype that no bundle can hold
    spec = TeachingSpec(output=len(graph.outputs) - 1, size=layer.size)
    chosen = choose(held.labels, source.labels, layer.size * np.dtype(tensor.dtype).itemsize, seed=seed)
    assert held.labels is not None
    kept, labels = embeddings(last_layer.expose(model, layer), held, chosen), held.labels[chosen]
    if finished.detection is not None:
        around = between_words(exposed, spec, finished.detection, source)
        kept = np.concatenate([kept, to_stored(around, tensor)])
        labels = np.append(labels, np.full(len(around), -1))
    members = {
        HEAD: bundle.npz(
            weights=layer.head.weights, bias=layer.head.bias, kept=kept, kept_labels=labels.astype(np.int32)
        )
    }
    story = {"teachable": {"embedding": layer.size, "kept": len(kept), "kept_bytes": kept.nbytes}}
    return dataclasses.replace(
        finished,
        model=exposed,
        members={**finished.members, **members},
        teaching=spec,
        recipe={**finished.recipe, **story},
    )


def between_words(exposed: bytes, spec: TeachingSpec, detection: DetectionSpec, source: Source) -> np.ndarray:
    """Embeddings (n, d) float32 of at most SOUND steps of the RUN's validation sound without words, spread evenly.

    A stream shows a net more than whole windows do: beginnings, pauses and halves of things. None without such sound.
    """
    folder = source.folder / "validation" / "negatives" if source.folder is not None else None
    if folder is None or not folder.is_dir() or not isinstance(source.preprocessing, SpeechSpec):
        return np.zeros((0, spec.size), np.float32)
    graph = flatbuffer.graphs(exposed)[0]
    manifest = Manifest(
        name="validation",
        task=source.task,
        inputs=flatbuffer.specs(graph, graph.inputs),
        outputs=flatbuffer.specs(graph, graph.outputs),
        preprocessing=source.preprocessing,
        labels=source.labels,
        members={HEAD: "0" * 64},
        detection=detection,
        teaching=spec,
    )
    paths = find_sounds(folder)
    paths = tuple(paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, SOUNDS).round().astype(int)))
    found = []
    with open_engine(exposed, threads=1) as engine:
        spotter = Spotter(engine, manifest)
        for _, samples in load_each(paths, spotter.rate_hz, []):
            spotter.reset()
            # From a start in silence into the sound, of which a minute is enough.
            rows = spotter.embeddings(np.pad(samples[: SOUND_S * spotter.rate_hz], (spotter.window_samples, 0)))
            found.append(rows[spotter.first_row :])
    rows = np.concatenate(found)
    return rows[np.unique(np.linspace(0, len(rows) - 1, SOUND).round().astype(int))]


def choose(held: np.ndarray | None, labels: tuple[str, ...], bytes_each: int, *, seed: int) -> np.ndarray:
    """Which examples to keep: equally many of every class as far as they go, sorted. Raises EdgepressError."""
    counts = np.zeros(len(labels), int) if held is None else np.bincount(held, minlength=len(labels))
    if held is None or counts.min() < KEPT_LEAST:
        label = labels[int(counts.argmin())]
        raise EdgepressError(
            f"a board that is taught must keep the old classes in mind, and there are {counts.min()} validation "
            f"examples of {label!r}, not {KEPT_LEAST} or more",
            "give data with more of them (--val-fraction of train), or leave --teachable out",
        )
    most = int(np.clip(KEPT_BYTES // (bytes_each * len(labels)), KEPT_LEAST, KEPT_MOST))
    rng = np.random.default_rng(seed)
    taken = [rng.permutation(np.flatnonzero(held == number))[:most] for number in range(len(labels))]
    return np.sort(np.concatenate(taken))


def embeddings(exposed: bytes, held: Examples, index: np.ndarray) -> np.ndarray:
    """The last output of `exposed` for the examples at `index`: (n, d) as stored."""
    with open_engine(exposed) as engine:
        source = engine.inputs[0]
        rows = [engine.run(to_stored(held.take(index[i : i + 1]), source))[-1].reshape(-1) for i in range(len(index))]
    return np.stack(rows)
