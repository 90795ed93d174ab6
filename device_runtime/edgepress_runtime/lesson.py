"""What a board knows after one lesson: a bundle and its overlay in, the next overlay out. Runs and writes nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timezone
from difflib import get_close_matches
from typing import Any

from edgepress_runtime.bundle import Bundle
from edgepress_runtime.clips import BACKGROUND
from edgepress_runtime.errors import BundleError, EdgepressError
from edgepress_runtime.gather import Gathered
from edgepress_runtime.head import read
from edgepress_runtime.manifest import check_labels
from edgepress_runtime.overlay import Overlay, TaughtClass
from edgepress_runtime.teach import LEAST, Measured, learn, measure

MOST = 100  # classes that are taught; beyond, it is time to train


def check_name(bundle: Bundle, overlay: Overlay | None, label: str) -> None:
    """Raise EdgepressError for a name that the model knows already, or that cannot be one."""
    name = bundle.manifest.name
    try:
        check_labels([label])
    except BundleError as error:
        raise EdgepressError(error.what, "give the class another name") from None
    taught = () if overlay is None else overlay.labels
    if label in taught:
        raise EdgepressError(
            f"{name} was taught {label!r} already", f"edgepress-device forget {name} --name {label}, then teach it anew"
        )
    if label in bundle.manifest.labels or label in BACKGROUND:
        raise EdgepressError(f"{name} knows {label!r} already", "give the class another name")
    if len(taught) >= MOST:
        raise EdgepressError(f"{name} was taught {MOST} classes, the most it can be", "train a model with all of them")


def taught(
    bundle: Bundle, overlay: Overlay | None, label: str, examples: Gathered, noun: str
) -> tuple[Overlay, Measured]:
    """The overlay with `label` added, and what was measured. Raises EdgepressError as `check_name`, and for too few."""
    check_name(bundle, overlay, label)
    count = len(examples.files)
    if count < LEAST:
        left = f", and {len(examples.skipped)} could not be used" if examples.skipped else ""
        raise EdgepressError(
            f"a class is learnt from {LEAST} {noun}s or more, not from {count}{left}",
            f"give {LEAST} to 10 {noun}s that differ: other angles, light and distance"
            if noun == "picture"
            else f"give {LEAST} to 10 {noun}s, by more than one person if you can",
        )
    head, kept = read(bundle)
    before = () if overlay is None else overlay.classes
    measured = measure(
        head, kept, [one.examples for one in before], examples.examples, examples.groups,
        keyword=bundle.manifest.task == "keyword-spotting",
    )  # fmt: skip
    created = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    facts: dict[str, Any] = dataclasses.asdict(measured)
    one = TaughtClass(label, examples.examples, examples.groups, measured.threshold, facts, created)
    return _overlay(bundle, [*before, one]), measured


def forgotten(bundle: Bundle, overlay: Overlay | None, label: str) -> Overlay | None:
    """The overlay without `label`, None where nothing is left. Raises EdgepressError for one that was not taught."""
    known = () if overlay is None else overlay.labels
    if overlay is None or label not in known:
        near = get_close_matches(label, known, 1)
        told = f"did you mean {near[0]!r}?" if near else f"taught: {', '.join(known)}" if known else "nothing was"
        raise EdgepressError(f"{bundle.manifest.name} was not taught {label!r}", told)
    left = [one for one in overlay.classes if one.label != label]
    return _overlay(bundle, left) if left else None


def _overlay(bundle: Bundle, classes: Sequence[TaughtClass]) -> Overlay:
    head, kept = read(bundle)
    return Overlay(bundle.digest, tuple(classes), learn(head, kept, [one.examples for one in classes]))
