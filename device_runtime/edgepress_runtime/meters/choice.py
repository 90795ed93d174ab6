"""The meter that a command line asks for, as something that measures a call."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

from edgepress_runtime.kernel_files import ROOT
from edgepress_runtime.meters import energy, sources
from edgepress_runtime.meters.logger import LogFile, read
from edgepress_runtime.meters.reading import Silent
from edgepress_runtime.meters.sampler import Sampler

_SLICE_S = 0.1


def energy_meter(
    power: str = "auto",
    power_csv: str | None = None,
    *,
    root: Path = ROOT,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Callable[[Callable[[], object]], energy.Energy]:
    """What measures a call with the meter `power` (`sources.choose`, or `none`), or with a logger's file.

    Raises EdgepressError for a name that is no meter's and a file that is no log, before anything is measured.
    `progress(done, total)` gets seconds.
    """
    if power_csv is not None:
        path = Path(power_csv)
        if not path.exists() or path.stat().st_size:  # a logger that has just begun may not have written yet
            read(path)
        recorder: energy.Recorder = LogFile(path)
    else:
        chosen = Silent("none", "no meter was asked") if power == "none" else sources.choose(power, root)
        if isinstance(chosen, Silent):
            silent = chosen
            return lambda call: energy.unknown(silent)
        recorder = Sampler(chosen)

    def measured(call: Callable[[], object]) -> energy.Energy:
        begin = time.monotonic()

        def tell() -> None:
            progress(round(time.monotonic() - begin), energy.WHOLE_S)

        def sleep(seconds: float) -> None:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                time.sleep(min(left, _SLICE_S))
                tell()

        return energy.measure(recorder, call, sleep=sleep)

    return measured
