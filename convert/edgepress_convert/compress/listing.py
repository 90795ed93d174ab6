"""What passes there are, with their options: `edgepress compress --list`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module

import edgepress_train.keras2  # noqa: F401  first: it decides how TensorFlow starts
from edgepress_convert.compress import PASSES


def listing() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """(name, what it is for, its options as `name=default`, the shorthand's first) of every pass."""
    for name, (module, function, about) in PASSES.items():
        parameters = inspect.signature(getattr(import_module(module), function)).parameters.values()
        keywords = (p for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY)
        yield name, about, tuple(f"{p.name}={_shown(p.default)}" for p in keywords)


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return "''" if default == "" else str(default)
