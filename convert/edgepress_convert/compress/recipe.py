"""A recipe: the steps of a compression, as one line or as a TOML file, checked before anything is done.

`prune-channels:0.5,distil:epochs=20,qat` and

    [[step]]
    name = "prune-channels"
    ratio = 0.5

    [[step]]
    name = "qat"

say the same. What a search finds is a recipe, so any result can be made again by `compress`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import edgepress_train.keras2  # noqa: F401  first: it decides how TensorFlow starts
from edgepress_convert.compress import PASSES
from edgepress_runtime.errors import EdgepressError
from edgepress_train import spec
from edgepress_train.spec import Step

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Bound:
    """One step with the function that does it, its whole set of keyword arguments, and its `check`, if it has one."""

    step: Step
    function: Callable[..., Any]
    check: Callable[..., None] | None
    options: Mapping[str, Any] = field(default_factory=dict)


def read(text: str) -> tuple[Step, ...]:
    """The steps that `text` names: a TOML file where it ends in .toml, else one line. Raises EdgepressError."""
    steps = _from_toml(Path(text)) if text.strip().endswith(".toml") else spec.parse(text)
    if not steps:
        raise EdgepressError("the recipe has no steps", "give --recipe, as prune-channels:0.5,qat; see compress --list")
    return steps


def write(steps: tuple[Step, ...]) -> str:
    """`steps` as one line that `read` takes."""
    return ",".join(str(step) for step in steps)


def bind(steps: tuple[Step, ...]) -> tuple[Bound, ...]:
    """`steps` with the functions that do them. Raises EdgepressError naming the step that is wrong."""
    bound = []
    for number, step in enumerate(steps, 1):
        try:
            module_name, name, _ = spec.choose(step, PASSES, kind="pass")
            module = import_module(module_name)
            function = getattr(module, name)
            options = spec.bind(step, function, kind="pass")
        except EdgepressError as error:
            if len(steps) == 1:
                raise
            raise EdgepressError(f"step {number}: {error.what}", error.remedy) from None
        bound.append(Bound(step, function, getattr(module, "check", None), options))
    return tuple(bound)


def _from_toml(path: Path) -> tuple[Step, ...]:
    try:
        if path.is_file() and path.stat().st_size > _MAX_BYTES:
            raise EdgepressError(f"{path} is too big for a recipe")
        with path.open("rb") as file:
            value = tomllib.load(file)
    except FileNotFoundError:
        raise EdgepressError(f"the recipe {path} does not exist", "check --recipe") from None
    except OSError as error:
        raise EdgepressError(f"the recipe {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise EdgepressError(
            f"the recipe {path} is no TOML: {error}", "write [[step]] tables with a name each"
        ) from None
    rows = value.get("step")
    unknown = sorted(set(value) - {"step"})
    if unknown or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        what = f"has {unknown[0]!r} beside its steps" if unknown else "has no [[step]] tables"
        raise EdgepressError(f"the recipe {path} {what}", "write [[step]] tables with a name each")
    steps = []
    for number, row in enumerate(rows, 1):
        name = row.pop("name", None)
        if not isinstance(name, str):
            raise EdgepressError(f"step {number} of {path} has no name", 'write name = "qat"')
        value = row.pop("value", None)
        params = {key.replace("-", "_"): tuple(item) if isinstance(item, list) else item for key, item in row.items()}
        steps.append(Step(name, value, params))
    return tuple(steps)
