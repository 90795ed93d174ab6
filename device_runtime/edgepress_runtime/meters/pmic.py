"""The power chip of a Raspberry Pi 5, through `vcgencmd pmic_read_adc`: current and voltage of each rail behind it.

Their sum is what the board's own chips take: USB devices, HATs on 5 V and the chip's own losses are not in it.
"""

from __future__ import annotations

import re
from pathlib import Path

from edgepress_runtime.kernel_files import ROOT, vcgencmd
from edgepress_runtime.meters.reading import WATTS, Found, Meter, MeterError

SOURCE = "pmic"
PERIOD_S = 0.2  # each reading starts a process, which itself costs power
_LINE = re.compile(r"^\s*(\S+)_(A|V)\s+(?:current|volt)\(\d+\)=([0-9.]+)[AV]\s*$", re.MULTILINE)


def find(root: Path = ROOT) -> list[Found]:
    """The chip, where the firmware tells of one; that of other boards answers "Command not registered"."""
    if watts(vcgencmd(root, "pmic_read_adc") or "") is None:
        return []

    def read() -> float:
        told = vcgencmd(root, "pmic_read_adc")
        total = None if told is None else watts(told)
        if total is None:
            raise MeterError(f"{SOURCE} no longer answers", "try: vcgencmd pmic_read_adc")
        return total

    return [Meter(SOURCE, WATTS, PERIOD_S, read)]


def watts(told: str) -> float | None:
    """The sum over all rails that have a current `NAME_A` and a voltage `NAME_V`; None without any.

    They are paired by name: the numbers in brackets are those of the converter's channels. EXT5V, the input, has a
    voltage only.
    """
    values: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for rail, kind, number in _LINE.findall(told):
        try:
            values[kind][rail] = float(number)
        except ValueError:
            continue
    rails = values["A"].keys() & values["V"].keys()
    return sum(values["A"][rail] * values["V"][rail] for rail in sorted(rails)) if rails else None
