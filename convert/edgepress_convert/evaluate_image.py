"""Judging classifiers of pictures."""

from __future__ import annotations

import numpy as np

from edgepress_convert.evaluate import Evaluation, Request, described, evaluation, held_out, label_map
from edgepress_runtime.bundle import Bundle
from edgepress_runtime.classify import Classifier
from edgepress_runtime.engine import open_engine
from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.manifest import ImageSpec
from edgepress_train.data.pixels import load_split
from edgepress_train.progress import Progress


def judge(bundle: Bundle, request: Request, progress: Progress) -> Evaluation:
    """Judge `bundle` on the held-out part of labelled pictures. Raises EdgepressError."""
    manifest, data = bundle.manifest, request.data
    if data is None:
        raise EdgepressError(f"{manifest.name} sees pictures and hears nothing", "judge it with --data DIR|NAME")
    assert isinstance(manifest.preprocessing, ImageSpec)
    dataset, split, part = held_out(bundle, data)
    truth_index = label_map(dataset.labels, manifest.labels, data)
    pixels, kept, undecodable = load_split(split, manifest.preprocessing, progress=progress)
    if not len(kept):
        raise EdgepressError(f"{data} has no held-out picture", "give a data set with a test part, or another folder")
    with open_engine(bundle.model_source, threads=request.threads) as engine:
        classifier = Classifier(engine, manifest)
        rows = []
        for done, picture in enumerate(pixels):
            rows.append(classifier.scores(picture))
            progress("evaluate", done + 1, len(pixels), "")
    skipped = (*dataset.skipped, *undecodable)
    return evaluation(
        bundle, np.stack(rows), truth_index[kept.labels], described(dataset, data, part, kind="pictures"), skipped
    )
