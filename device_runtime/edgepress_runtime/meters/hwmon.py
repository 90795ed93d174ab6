"""Power sensors with a driver in the kernel: INA219, INA226, INA260 and their kin, below /sys/class/hwmon.

Units are those of the kernel's hwmon interface (Documentation/hwmon/sysfs-interface): power*_input in microwatts,
curr*_input in milliamperes, in*_input in millivolts. In the driver of the INA family in0 is the shunt and in1 the bus.
"""

from __future__ import annotations

from pathlib import Path

from edgepress_runtime.kernel_files import ROOT, numbered, text
from edgepress_runtime.meters.reading import WATTS, Found, Meter, MeterError

# Sensors that somebody wires into a supply. Others with a power (graphics cards, batteries) must be named.
SUPPLY_SENSORS = frozenset(
    ("ina209", "ina219", "ina220", "ina226", "ina228", "ina230", "ina231", "ina233", "ina234", "ina237", "ina238",
     "ina260", "ina3221", "isl28022", "ltc2945", "ltc2947", "ltc4151", "max34407", "pac1934", "sy24655", "sq52206")
)  # fmt: skip
PERIOD_S = 0.02  # the INA drivers convert every 2 to 70 ms


def find(root: Path = ROOT) -> list[Found]:
    """A meter for each power of each sensor; for a sensor without, one for each current that has a voltage."""
    found: list[Found] = []
    for folder in numbered(root, "sys/class/hwmon/hwmon*"):
        name = text(folder / "name") or "unnamed"
        channels = _channels(folder, "power")
        for channel in channels:
            found.append(_meter(folder, name, channel, f"power{channel}"))
        if not channels:
            for channel in _channels(folder, "curr"):
                if (folder / f"in{channel}_input").exists():
                    found.append(_meter(folder, name, channel, f"curr{channel} x in{channel}"))
    return found


def _meter(folder: Path, name: str, channel: str, what: str) -> Meter:
    source = f"{folder.name} {name} {what}"
    power, current, volts = (folder / f"{kind}{channel}_input" for kind in ("power", "curr", "in"))
    by_power = what.startswith("power")

    def read() -> float:
        if current.exists() or not by_power:
            amps = _number(current, source) / 1e3
            if amps < 0:
                # The chips' power register has no sign, so it would pass for what the board takes.
                raise MeterError(f"{source}: the current is negative", "swap the two wires of the sensor")
        return _number(power, source) / 1e6 if by_power else amps * _number(volts, source) / 1e3

    return Meter(source, WATTS, PERIOD_S, read, whole=name in SUPPLY_SENSORS)


def _channels(folder: Path, kind: str) -> list[str]:
    return [path.name[len(kind) : -len("_input")] for path in numbered(folder, f"{kind}[0-9]*_input")]


def _number(path: Path, source: str) -> float:
    try:
        return int(path.read_text(encoding="ascii"))
    except OSError as error:
        raise MeterError(
            f"{source} no longer answers: {error.strerror}", "look whether the sensor is still wired"
        ) from None
    except ValueError:
        raise MeterError(f"{source}: {path.name} holds no number", "look whether its driver is the right one") from None
