"""All kinds of meters, and the choice of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Callable

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.kernel_files import ROOT
from edgepress_runtime.meters import hwmon, pmic, rapl
from edgepress_runtime.meters.reading import Found, Meter, Silent

# The first kind that answers is used: a sensor in the supply sees the whole board, the others a part of it.
SOURCES: Mapping[str, Callable[[Path], list[Found]]] = {"hwmon": hwmon.find, "pmic": pmic.find, "rapl": rapl.find}


def find(root: Path = ROOT) -> dict[str, list[Found]]:
    """Everything that tells power or energy here, by kind."""
    return {kind: source(root) for kind, source in SOURCES.items()}


def choose(name: str = "auto", root: Path = ROOT) -> Found:
    """The meter to use.

    `auto`: of the first kind that answers the only one that sees a supply. Else a kind (`hwmon`, `pmic`, `rapl`), or a
    part of a source's name such as `ina226` or `hwmon3`. Silent where nothing (or too much) answers to `auto`; raises
    EdgepressError for a name that fits none, or several.
    """
    found = find(root)
    if name == "auto":
        silent = Silent("none", "no power meter answers here", "wire an INA219 or INA226 in, or give --power-csv FILE")
        for meters in found.values():
            heard = [m for m in meters if isinstance(m, Meter) and m.whole]
            if len(heard) > 1:
                names = ", ".join(m.source for m in heard)
                return Silent("none", f"{len(heard)} sensors answer: {names}", "say which one with --power NAME")
            if heard:
                return heard[0]
            silent = next((m for m in meters if isinstance(m, Silent)), silent)
        return silent
    everything = [m for meters in found.values() for m in meters]
    fitting = found[name] if name in found else [m for m in everything if name in m.source]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(m.source for m in (fitting or everything)) or "none"
    if fitting:
        raise EdgepressError(f"{len(fitting)} meters are called {name!r}: {names}", "give more of the name")
    raise EdgepressError(
        f"no power meter is called {name!r}; found here: {names}", "edgepress-device doctor lists them"
    )
