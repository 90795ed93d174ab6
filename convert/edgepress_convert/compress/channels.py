"""The pass `prune-channels`: whole filters go, so that a smaller plain model is left, and that is trained on."""

from __future__ import annotations

import difflib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_convert.compress import budget
from edgepress_convert.compress.dependencies import follow
from edgepress_convert.compress.importance import CRITERIA, bn
from edgepress_convert.compress.job import Job
from edgepress_convert.compress.surgery import rebuild
from edgepress_convert.compress.units import Dependencies
from edgepress_runtime import disk
from edgepress_runtime.errors import EdgepressError
from edgepress_train.keras2 import keras


def prune_channels(
    model: keras.Model,
    job: Job,
    *,
    ratio: float = 0.5,
    criterion: str = "taylor",
    epochs: int = 5,
    steps: int = 1,
    multiple: int = 4,
    least: float = 0.1,
) -> keras.Model:
    """`model` with at least the share `ratio` of its multiply-accumulates removed, trained on for `epochs`.

    The channels that the net would miss least go, compared over all layers, by `criterion`: `taylor`, weighed against
    what they save, `bn` or `l1` (see `importance`). With several `steps` each takes the same share of what is left, and
    between two the net is trained for a `steps`-th of `epochs`, at least one. Widths stay multiples of `multiple`, and
    each layer keeps the share `least` of its channels or more; inputs, classes and whatever touches an unknown layer
    keep all. Frozen layers that lose channels are thawed: what they were frozen at is gone. Raises EdgepressError.
    """
    # The ratio is one of multiply-accumulates and not of channels or weights, as half the arithmetic is what a user who
    # writes 0.5 wants to get: half the channels of every layer would be a quarter of it, and weights cost no time.
    smaller, found, floors = _opened(
        model, job, ratio=ratio, criterion=criterion, epochs=epochs, steps=steps, multiple=multiple, least=least
    )
    for left in found.left_alone:
        job.note(str(left))
    whole = _macs(found)
    for step in range(1, steps + 1):
        if step > 1:
            found = _eligible(smaller, follow(smaller), job, criterion)
        removed = _remembered(job.scratch / f"removed-{step}.json", found.units)
        if removed is None:
            removed = budget.choose(
                found,
                CRITERIA[criterion].rank(smaller, found, job),
                macs=whole * (1 - ratio) ** (step / steps),
                priced=CRITERIA[criterion].priced,
                floors=floors,
                multiple=multiple,
            )
            _remember(job.scratch / f"removed-{step}.json", removed)
        smaller = cut(smaller, found, removed)
        if step < steps and epochs:
            job.fine_tune(smaller, epochs=max(1, epochs // steps), stage=f"after-{step}")
    job.fine_tune(smaller, epochs=epochs)
    return smaller


def check(
    model: keras.Model,
    job: Job,
    *,
    ratio: float = 0.5,
    criterion: str = "taylor",
    epochs: int = 5,
    steps: int = 1,
    multiple: int = 4,
    least: float = 0.1,
) -> None:
    """Raise EdgepressError for options that make no sense, and for a model that cannot lose as much."""
    _opened(model, job, ratio=ratio, criterion=criterion, epochs=epochs, steps=steps, multiple=multiple, least=least)


def cut(model: keras.Model, found: Dependencies, removed: np.ndarray) -> keras.Model:
    """The flat `model` without the units where `removed` (units,) is true; `found` is what `follow` says of it."""
    settings: dict[str, dict[str, Any]] = {}
    for width in found.widths:
        if removed[width.units].any():
            n = int(np.count_nonzero(~removed[width.units]))
            settings.setdefault(width.layer, {})[width.setting] = n if width.front is None else (*width.front, n)
    weights: dict[str, list[np.ndarray]] = {}
    for slot in found.slots:
        if removed[slot.units].any():
            if slot.layer not in weights:
                weights[slot.layer] = model.get_layer(slot.layer).get_weights()
                settings.setdefault(slot.layer, {})["trainable"] = True
            arrays = weights[slot.layer]
            arrays[slot.weight] = np.compress(~removed[slot.units], arrays[slot.weight], axis=slot.axis)
    return rebuild(model, settings=settings, weights=weights)


def _opened(
    model: keras.Model, job: Job, *, ratio: float, criterion: str, epochs: int, steps: int, multiple: int, least: float
) -> tuple[keras.Model, Dependencies, dict[str, int]]:
    """A flat copy of `model`, its units, and the fewest that each group must keep; or what `check` has to say."""
    if criterion not in CRITERIA:
        near = difflib.get_close_matches(criterion, CRITERIA, 1)
        raise EdgepressError(
            f"unknown criterion {criterion!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            f"known: {', '.join(CRITERIA)}",
        )
    if not 0 < ratio < 1:
        raise EdgepressError(f"prune-channels cannot remove {ratio:g} of a net", "give a ratio between 0 and 1, as 0.5")
    if epochs < 0 or steps < 1 or multiple < 1 or not 0 <= least < 1:
        raise EdgepressError(
            f"prune-channels cannot work with epochs={epochs}, steps={steps}, multiple={multiple}, least={least:g}",
            "epochs are 0 or more, steps and multiple 1 or more, least is a share from 0 to below 1",
        )
    plain = rebuild(model)
    everything = follow(plain)
    found = _eligible(plain, everything, job, criterion)
    if not found.groups:
        if everything.groups:
            raise EdgepressError(
                f"no layer of {model.name} that may lose channels has the scales of batch normalisation that bn ranks",
                "use criterion=taylor",
            )
        reasons = "; ".join(map(str, found.left_alone))
        raise EdgepressError(
            f"no channel of {model.name} can be removed" + (f": {reasons}" if reasons else ""),
            "leave prune-channels out" if not reasons else "build the net from layers that edgepress knows",
        )
    floors = budget.floors(found, share=least, multiple=multiple)
    most = 1 - budget.costs(found).macs(np.array([floors[group.name] for group in found.groups])) / _macs(found)
    if most < ratio:
        reasons = "".join(f"; {left}" for left in found.left_alone)
        raise EdgepressError(
            f"prune-channels can remove at most {100 * most:.1f} % of what {model.name} computes, not "
            f"{100 * ratio:g} %{reasons}",
            f"lower the ratio, or multiple={multiple} or least={least:g}",
        )
    return plain, found, floors


def _eligible(model: keras.Model, found: Dependencies, job: Job, criterion: str) -> Dependencies:
    """`found` without groups that the criterion says nothing of."""
    if criterion != "bn":
        return found
    scales = bn(model, found, job)
    return replace(found, groups=tuple(g for g in found.groups if np.isfinite(scales[g.units]).all()))


def _macs(found: Dependencies) -> float:
    return float(budget.costs(found).macs(budget.sizes(found)))


def _remembered(path: Path, units: int) -> np.ndarray | None:
    """What an interrupted run removed, so that its checkpoints fit; gradients may differ in their last digits."""
    if not path.is_file():
        return None
    removed = np.zeros(units, bool)
    removed[json.loads(path.read_text(encoding="utf-8"))] = True
    return removed


def _remember(path: Path, removed: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    disk.write_bytes(path, json.dumps(np.flatnonzero(removed).tolist()).encode())
