"""One-line specs, `name:value:key=value, name, ...`: how architectures, augmentations and recipes are written down.

Arguments are literals (numbers, true/false, words) and are never evaluated. They are checked against the signature of
the function that they name, so a mistyped word is an error that shows the right one.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgepress_runtime.errors import EdgepressError


@dataclass(frozen=True)
class Step:
    """One named step: its shorthand value (None when absent) and its keyword parameters."""

    name: str
    value: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        words = [self.name]
        if self.value is not None:
            words.append(_write(self.value))
        return ":".join([*words, *(f"{key}={_write(value)}" for key, value in self.params.items())])


def parse(text: str) -> tuple[Step, ...]:
    """The steps in `text`, in order; an empty text or `none` has none. Raises EdgepressError for a malformed step."""
    if text.strip() in ("", "none"):
        return ()
    steps = []
    for number, part in enumerate(text.split(","), 1):
        name, *arguments = (word.strip() for word in part.split(":"))
        if not name or not all(arguments):
            raise EdgepressError(f"step {number} of {text!r} is empty", "write steps as name:value:key=value")
        value, params = None, {}
        for argument in arguments:
            key, equals, literal = argument.partition("=")
            if equals:
                params[key.strip().replace("-", "_")] = _read(literal.strip())
            elif value is None and not params:
                value = _read(argument)
            else:
                raise EdgepressError(f"step {number} ({part.strip()!r}) has two values", "name the second: key=value")
        steps.append(Step(name, value, params))
    return tuple(steps)


def choose(step: Step, table: Mapping[str, Any], *, kind: str) -> Any:
    """The entry of `table` that `step` names. Raises EdgepressError with a near match."""
    if step.name in table:
        return table[step.name]
    near = difflib.get_close_matches(step.name, table, 1)
    raise EdgepressError(
        f"unknown {kind} {step.name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
        f"known: {', '.join(sorted(table))}",
    )


def bind(step: Step, function: Callable[..., Any], *, kind: str) -> dict[str, Any]:
    """Keyword arguments of `step` for `function`; the shorthand value goes to its first keyword-only parameter.

    Raises EdgepressError for a keyword that the function does not have, a value of another type than its default,
    or a value where it takes none.
    """
    options = {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and parameter.default is not inspect.Parameter.empty
    }
    given = dict(step.params)
    if step.value is not None:
        if not options:
            raise EdgepressError(f"{kind} {step.name!r} takes no value")
        first = next(iter(options))
        if first in given:
            raise EdgepressError(f"{kind} {step.name!r} is given {first} twice")
        given[first] = step.value
    for key, value in given.items():
        if key not in options:
            near = difflib.get_close_matches(key, options, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise EdgepressError(
                f"{kind} {step.name!r} has no option {key!r}{hint}", f"options: {', '.join(options) or 'none'}"
            )
        given[key] = _like(options[key], value, f"{kind} {step.name!r}: {key}")
    return given


def _like(default: Any, value: Any, where: str) -> Any:
    if isinstance(default, bool) or default is None or isinstance(value, bool):
        fits = isinstance(value, bool) if isinstance(default, bool) else default is None
    elif isinstance(default, float):
        fits, value = isinstance(value, (int, float)), float(value) if isinstance(value, (int, float)) else value
    elif isinstance(default, tuple):
        value = value if isinstance(value, tuple) else (value,)
        fits = all(isinstance(item, type(default[0])) for item in value)
    else:
        fits = isinstance(value, type(default))
    if not fits:
        raise EdgepressError(f"{where} should look like {_write(default)}, not {_write(value)}")
    return value


def _read(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    if "-" in text[1:] and all(part.isdigit() for part in text.split("-")):
        return tuple(int(part) for part in text.split("-"))  # widths: 16-32-64
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _write(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(str(item) for item in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
