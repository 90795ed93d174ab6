"""Energy counters of x86 processors (RAPL), through the kernel's powercap: whole packages, not the rest of the machine.

Documentation/power/powercap: energy_uj counts microjoules and begins anew after max_energy_range_uj.
"""

from __future__ import annotations

from pathlib import Path

from edgepress_runtime.kernel_files import ROOT, numbered, text, whole
from edgepress_runtime.meters.reading import JOULES, Found, Meter, MeterError, Silent

PERIOD_S = 0.05


def find(root: Path = ROOT) -> list[Found]:
    """One meter that adds up all packages; `psys` and the parts of a package would count the same joules twice."""
    packages = [
        folder
        for folder in numbered(root, "sys/class/powercap/intel-rapl:*")
        if (text(folder / "name") or "").startswith("package")
    ]
    if not packages:
        return []
    source = "rapl " + " + ".join(text(folder / "name") or folder.name for folder in packages)
    try:
        counters = [_Counter(folder, source) for folder in packages]
    except MeterError as error:
        return [Silent(source, error.what, error.remedy)]
    return [Meter(source, JOULES, PERIOD_S, lambda: sum(counter.joules() for counter in counters))]


class _Counter:
    """One package's joules since it was first read, however often its counter has begun anew.

    It must be read at least once each time around: at 100 W a counter of 262 kJ takes three quarters of an hour.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self._file = folder / "energy_uj"
        self._source = source
        self._range = whole(folder / "max_energy_range_uj")
        self._last = self._read()
        self._total = 0

    def joules(self) -> float:
        now = self._read()
        step = now - self._last
        if step < 0:
            if self._range is None:
                raise MeterError(f"{self._source} went back and tells no range", "use another meter: --power NAME")
            step += self._range
        self._last = now
        self._total += step
        return self._total / 1e6

    def _read(self) -> int:
        try:
            return int(self._file.read_text(encoding="ascii"))
        except PermissionError:
            # Kernels since 5.10 keep it from users, since it gives away what others compute (CVE-2020-8694).
            raise MeterError(f"only root may read {self._source}", "run it with sudo") from None
        except OSError as error:
            raise MeterError(f"{self._source} no longer answers: {error.strerror}", "use another meter") from None
        except ValueError:
            raise MeterError(f"{self._source}: energy_uj holds no number", "use another meter") from None
