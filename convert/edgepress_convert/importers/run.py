"""A RUN folder: everything is known.

The pictures of a run lie where they lay at training; of a speech run the examples are in the folder itself.
"""

from __future__ import annotations

from pathlib import Path

from edgepress_convert import plan
from edgepress_convert.importers.source import Hints, ImportFailure, Source, bundle_name
from edgepress_runtime.manifest import ImageSpec
from edgepress_train import run
from edgepress_train.data import sources


def read(path: Path, hints: Hints) -> Source:
    """The run's model with the very data that it was trained on. Raises EdgepressError when they changed."""
    found = run.load(path)
    if found.task in run.PRETRAINING:
        raise ImportFailure(
            f"{path} holds a pretrained encoder, which knows no labels yet",
            f"train it on some: edgepress train {found.task.partition('-')[0]} --init {path} --data DIR --out RUN",
        )
    given = {f"--{name}": value for name, value in vars(hints).items() if value is not None}
    if given:
        raise ImportFailure(f"{', '.join(given)} cannot change a RUN folder: it knows its own", "leave the flag out")
    return Source(
        kind="run",
        name=bundle_name(path.resolve().name),
        task=found.task,
        labels=found.labels,
        preprocessing=found.preprocessing,
        model=run.load_model(found),
        dataset=sources.reopen(found.data) if isinstance(found.preprocessing, ImageSpec) else None,
        recipe={
            "train": {"command": found.command, "config": dict(found.config), "versions": dict(found.versions)},
            "data": dict(found.data),
            **({"compress": dict(found.compress)} if found.compress else {}),
        },
        folder=path,
        plan=plan.from_json(found.plan),
    )
