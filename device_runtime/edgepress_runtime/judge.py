"""What `edgepress-device run` does with one item, by task: a label for a picture or text, keywords in a recording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Callable

from edgepress_runtime import audio, classify_text, image, spot
from edgepress_runtime.bundle import Bundle
from edgepress_runtime.classify import Classifier, image_of
from edgepress_runtime.classify_text import TextClassifier
from edgepress_runtime.engine import Engine
from edgepress_runtime.files import find, texts
from edgepress_runtime.lines import one_line
from edgepress_runtime.spot import Spotter


@dataclass(frozen=True)
class Judged:
    """One item's answer: `facts` for machines, `lines` for people."""

    facts: dict[str, Any]
    lines: tuple[str, ...]


# Given a file or a text; raises image.ImageError, audio.AudioError or text.TextError for one that cannot be judged.
Judge = Callable[[Any], Judged]


@dataclass(frozen=True)
class Task:
    """How items are judged: `noun` is what one is called, `done` what is done to it, `key` its name in `--json`.

    `items(words)` are those that the command line means. `judge(engine, bundle, top)` gives the function for one item;
    `top` is how many answers a picture or a text gets. `threads` is what the engine gets unless told otherwise, None
    for its own default. `stdin`: without words, the lines of stdin are the items.
    """

    noun: str
    done: str
    items: Callable[[Sequence[str]], Iterable[Any]]
    judge: Callable[[Engine, Bundle, int], Judge]
    threads: int | None = None
    key: str = "file"
    stdin: bool = False


def _pictures(engine: Engine, bundle: Bundle, top: int) -> Judge:
    classifier, spec = Classifier(engine, bundle.manifest, bundle.head), image_of(bundle.manifest)

    def judge(file: Path) -> Judged:
        scores = classifier.top(image.load_pixels(file, spec), top)
        best = {"file": str(file), "label": scores[0].label, "score": scores[0].score}
        line = f"{one_line(str(file))}\t{scores[0].label}\t{scores[0].score:.4f}"
        return Judged({**best, "top": [{"label": s.label, "score": s.score} for s in scores]}, (line,))

    return judge


def _recordings(engine: Engine, bundle: Bundle, top: int) -> Judge:
    spotter = Spotter(engine, bundle.manifest, bundle.head)

    def judge(file: Path) -> Judged:
        samples = audio.load(file, spotter.rate_hz)
        found = spotter.whole(samples)
        name = one_line(str(file))
        lines = [f"{name}\t{d.label}\t{d.score:.4f}\t{d.start_s:.2f}-{d.end_s:.2f} s" for d in found]
        facts = {"file": str(file), "seconds": round(len(samples) / spotter.rate_hz, 3)}
        return Judged({**facts, "detections": [d.facts() for d in found]}, tuple(lines) or (f"{name}\t-",))

    return judge


def _texts(engine: Engine, bundle: Bundle, top: int) -> Judge:
    classifier = TextClassifier(engine, bundle)

    def judge(text: str) -> Judged:
        scores = classifier.top(text, top)
        best = {"text": text, "label": scores[0].label, "score": scores[0].score}
        line = f"{one_line(text)}\t{scores[0].label}\t{scores[0].score:.4f}"
        return Judged({**best, "top": [{"label": s.label, "score": s.score} for s in scores]}, (line,))

    return judge


TASKS = {
    "image-classification": Task("picture", "classified", partial(find, suffixes=image.SUFFIXES), _pictures),
    "keyword-spotting": Task("recording", "heard", partial(find, suffixes=audio.SUFFIXES), _recordings, spot.THREADS),
    "text-classification": Task("text", "classified", texts, _texts, classify_text.THREADS, key="text", stdin=True),
}
