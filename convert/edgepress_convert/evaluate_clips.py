"""Judging keyword spotters clip by clip, like a classifier: each recording gets the label that it is surest of."""

from __future__ import annotations

from functools import partial

import numpy as np

from edgepress_convert.evaluate import Evaluation, described, evaluation, held_out, label_map
from edgepress_convert.spotting import load_each
from edgepress_runtime.bundle import Bundle
from edgepress_runtime.clips import clip_judge
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import SpeechSpec
from edgepress_train.data.dataset import Skipped
from edgepress_train.data.recordings import open_recordings
from edgepress_train.progress import Progress


def judge(bundle: Bundle, data: str, threads: int | None, progress: Progress) -> Evaluation:
    """Judge `bundle` on the held-out part of labelled clips. Raises EdgepressError."""
    manifest, spec = bundle.manifest, speech_spec(bundle)
    trained = manifest.recipe.get("data")
    speaker = trained.get("speaker", "") if isinstance(trained, dict) else ""
    dataset, split, part = held_out(bundle, data, opened=partial(open_recordings, speaker=speaker))
    truth_index = label_map(dataset.labels, manifest.labels, data)
    skipped: list[Skipped] = []
    truth = dict(zip(split.paths, truth_index[split.labels], strict=True))
    rows, kept = [], []
    with open_engine(bundle.model_source, threads=threads or 1) as engine:
        scores_of = clip_judge(engine, manifest)
        for path, samples in load_each(split.paths, spec.rate_hz, skipped):
            rows.append(scores_of(samples))
            kept.append(truth[path])
            progress("evaluate", len(rows), len(split), "")
    if not rows:
        raise EdgepressError(f"{data} has no held-out clip", "give data with a test part, or another folder")
    skipped = [*dataset.skipped, *skipped]
    return evaluation(
        bundle, np.stack(rows), np.array(kept), described(dataset, data, part, kind="clips"), tuple(skipped)
    )


def speech_spec(bundle: Bundle) -> SpeechSpec:
    """How sound becomes the bundle's input."""
    assert isinstance(bundle.manifest.preprocessing, SpeechSpec)
    return bundle.manifest.preprocessing
