"""JSON that means one thing only: no duplicate, unknown or missing keys, no NaN, no number that overflows.

Everything raises BundleError with the key that is wrong.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from edgepress_runtime.errors import BundleError

_REMEDY = "make the bundle again"
_MAX_DIGITS = 20  # reading a number of a million digits would take a board minutes


def read_object(data: bytes, file: str) -> dict[str, Any]:
    """The object in `data`, which is UTF-8; `file` is what error sentences call it."""
    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=_short,
            parse_float=_finite,
        )
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # lone surrogates could never be printed
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{file} cannot be read: {error}", _REMEDY) from None
    if not isinstance(value, dict):
        raise BundleError(f"{file} does not hold an object", _REMEDY)
    return value


def fields(value: dict[str, Any], cls: type, where: str) -> dict[str, Any]:
    """`value`, once its keys are exactly the fields of the data class `cls`."""
    expected = {f.name for f in dataclasses.fields(cls)}
    for key in sorted(expected - value.keys()):
        raise BundleError(f"{where} lacks the key {key!r}", _REMEDY)
    for key in sorted(value.keys() - expected):
        raise BundleError(f"{where} has the unknown key {key!r}", _REMEDY)
    return value


def of(kind: type, value: Any, where: str) -> Any:
    """`value`, once it is a `kind`; True and False are no numbers."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise BundleError(f"{where} should be {kind.__name__}, not {type(value).__name__}", _REMEDY)
    return value


def member(kind: type, raw: dict[str, Any], key: str) -> Any:
    """`raw[key]`, once it is a `kind`."""
    return of(kind, raw[key], key)


def number(value: Any, where: str) -> float:
    """A finite number as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BundleError(f"{where} should be a finite number, not {value!r}", _REMEDY)
    return float(value)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key appears twice")
    return value


def _short(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(text)} digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is too large")
    return value


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
