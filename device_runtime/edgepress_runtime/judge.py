"""What `edgepress-device run` does with one file, task by task: a picture's label, or the keywords in a recording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from edgepress_runtime import audio, image
from edgepress_runtime.classify import Classifier, image_of
from edgepress_runtime.engine import Engine
from edgepress_runtime.lines import one_line
from edgepress_runtime.manifest import Manifest
from edgepress_runtime.spot import THREADS, Spotter


@dataclass(frozen=True)
class Judged:
    """One file's answer: `facts` for machines, `lines` for people."""

    facts: dict[str, Any]
    lines: tuple[str, ...]


# Raises image.ImageError or audio.AudioError for a file that cannot be read.
Judge = Callable[[Path], Judged]


@dataclass(frozen=True)
class Task:
    """How files are judged: `noun` is what one is called, `done` what is done to it, `suffixes` what folders hold.

    `judge(engine, manifest, top)` gives the function for one file; `top` is how many answers a picture gets. `threads`
    is what the engine gets unless told otherwise, None for its own default.
    """

    noun: str
    done: str
    suffixes: Sequence[str]
    judge: Callable[[Engine, Manifest, int], Judge]
    threads: int | None = None


def _pictures(engine: Engine, manifest: Manifest, top: int) -> Judge:
    classifier, spec = Classifier(engine, manifest), image_of(manifest)

    def judge(file: Path) -> Judged:
        scores = classifier.top(image.load_pixels(file, spec), top)
        best = {"file": str(file), "label": scores[0].label, "score": scores[0].score}
        line = f"{one_line(str(file))}\t{scores[0].label}\t{scores[0].score:.4f}"
        return Judged({**best, "top": [{"label": s.label, "score": s.score} for s in scores]}, (line,))

    return judge


def _recordings(engine: Engine, manifest: Manifest, top: int) -> Judge:
    spotter = Spotter(engine, manifest)

    def judge(file: Path) -> Judged:
        samples = audio.load(file, spotter.rate_hz)
        found = spotter.whole(samples)
        name = one_line(str(file))
        lines = [f"{name}\t{d.label}\t{d.score:.4f}\t{d.start_s:.2f}-{d.end_s:.2f} s" for d in found]
        facts = {"file": str(file), "seconds": round(len(samples) / spotter.rate_hz, 3)}
        return Judged({**facts, "detections": [d.facts() for d in found]}, tuple(lines) or (f"{name}\t-",))

    return judge


TASKS = {
    "image-classification": Task("picture", "classified", image.SUFFIXES, _pictures),
    "keyword-spotting": Task("recording", "heard", audio.SUFFIXES, _recordings, THREADS),
}
