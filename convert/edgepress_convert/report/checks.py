"""JSON that commands wrote, read and checked, so that a damaged file ends in one sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgepress_runtime.errors import EdgepressError

MAX_JSON_BYTES = 64 * 1024 * 1024
NUMBER = (int, float)

Keys = Mapping[str, tuple[type, ...]]

# What `compress.measure.Measured` becomes; whatever else it holds is not shown
MEASURED: Keys = dict.fromkeys(
    ("n", "float_top1", "top1", "bytes", "deflated_bytes", "macs", "arena_bytes", "params", "sparsity"), NUMBER
)


def load(file: Path) -> Any:
    """The JSON in `file`. Raises EdgepressError."""
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise damaged(str(file), f"it is larger than {MAX_JSON_BYTES >> 20} MiB")
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise EdgepressError(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise damaged(str(file), "it is no JSON") from None


def fields(value: Any, keys: Keys, where: str) -> Mapping[str, Any]:
    """`value`, if it is an object with these keys of these types, and its numbers are finite. Raises EdgepressError."""
    if not isinstance(value, Mapping):
        raise damaged(where, "it is no object")
    for key, types in keys.items():
        if key not in value:
            raise damaged(where, f"it lacks {key}")
        if not isinstance(value[key], types) or (types == NUMBER and not is_number(value[key])):
            raise damaged(where, f"{key} is not what was written there")
    return value


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number, and no truth value."""
    return isinstance(value, NUMBER) and not isinstance(value, bool) and math.isfinite(value)


def damaged(where: str, why: str) -> EdgepressError:
    """The error for what cannot be used."""
    return EdgepressError(f"{where} is damaged: {why}", "make it again with the command that wrote it")
