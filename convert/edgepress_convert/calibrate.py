"""Choosing the thresholds of a keyword spotter, on the validation sound that its RUN kept or else on windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgepress_convert import flatbuffer, thresholds, verify
from edgepress_convert.examples import Examples
from edgepress_convert.importers import Source
from edgepress_convert.spotting import Listener, find_positives, find_sounds, joined, keywords, load_each
from edgepress_runtime.engine import open_engine
from edgepress_runtime.manifest import DetectionSpec, Manifest, SpeechSpec
from edgepress_train.data.dataset import Skipped
from edgepress_train.progress import Progress


def on_sound(
    streamed: bytes, source: Source, detection: DetectionSpec, per_hour: float, progress: Progress
) -> dict[str, Any] | None:
    """Thresholds chosen on RUN/validation through the spotter itself; None for a RUN without it."""
    assert source.folder is not None and isinstance(source.preprocessing, SpeechSpec)
    folder, spotted = source.folder / "validation", keywords(source.labels)
    if not (folder / "negatives").is_dir():
        return None
    positives = find_positives(folder / "positives", spotted) if (folder / "positives").is_dir() else {}
    rate_hz, skipped = source.preprocessing.rate_hz, list[Skipped]()
    with open_engine(streamed) as engine:
        listener = Listener(engine, _provisional(streamed, source, detection))

        def hear(paths: tuple[Path, ...], about: str) -> list[Any]:
            heard = []
            for done, (_, samples) in enumerate(load_each(paths, rate_hz, skipped), 1):
                heard.append(listener.hear(samples))
                progress(about, done, len(paths), "")
            return heard

        negatives = hear(find_sounds(folder / "negatives"), "listening to negatives")
        hours = sum(one.seconds for one in negatives) / 3600
        chosen = {}
        for word in spotted:
            column = source.labels.index(word)
            stream = joined([one.averages[:, column] for one in negatives], listener.deaf)
            chosen[word] = thresholds.for_stream(stream, listener.deaf, hours, per_hour)
        levels = {word: choice.threshold for word, choice in chosen.items()}
        alarms = sum(len(listener.replay(one.rows, levels)) for one in negatives)
        per_keyword: dict[str, Any] = {}
        for word, choice in chosen.items():
            clips = [listener.replay(one.rows, levels) for one in hear(positives.get(word, ()), f"listening to {word}")]
            found = sum(word in labels for labels in clips)
            per_keyword[word] = {
                "clips": len(clips), "found": found, "recall": found / len(clips) if clips else None,
                "threshold": choice.threshold, "false_alarms": choice.false_alarms, "rule": choice.rule,
            }  # fmt: skip
    clips = sum(row["clips"] for row in per_keyword.values())
    return {
        "chosen_on": "validation sound",
        "thresholds": levels,
        "wanted_false_alarms_per_hour": per_hour,
        "negative_hours": hours,
        "false_alarms": alarms,
        "false_alarms_per_hour": alarms / hours if hours else None,
        "at_most_per_hour": thresholds.at_most_per_hour(alarms, hours),
        "clips": clips,
        "recall": sum(row["found"] for row in per_keyword.values()) / clips if clips else None,
        "per_keyword": per_keyword,
        "skipped": len(skipped),
    }


def on_windows(model: bytes, held: Examples, source: Source) -> dict[str, Any]:
    """Thresholds chosen on validation windows, which say nothing about false alarms in an hour."""
    scores = verify.scores(model, held)
    assert held.labels is not None
    chosen = {}
    for word in keywords(source.labels):
        column = source.labels.index(word)
        chosen[word] = thresholds.for_windows(scores[:, column], held.labels == column)
    return {
        "chosen_on": "validation windows",
        "thresholds": {word: choice.threshold for word, choice in chosen.items()},
        "per_keyword": {word: {"threshold": c.threshold, "rule": c.rule} for word, c in chosen.items()},
        "windows": len(held),
    }


def _provisional(streamed: bytes, source: Source, detection: DetectionSpec) -> Manifest:
    """What a spotter must know before there is a bundle."""
    graph = flatbuffer.graphs(streamed)[0]
    return Manifest(
        name="validation",
        task=source.task,
        inputs=flatbuffer.specs(graph, graph.inputs),
        outputs=flatbuffer.specs(graph, graph.outputs),
        preprocessing=source.preprocessing,
        labels=source.labels,
        members={},
        detection=detection,
    )
