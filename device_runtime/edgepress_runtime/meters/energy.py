"""Joules of a stretch of time, and what of them one inference took: with the idle power around it subtracted."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Callable, Protocol

import numpy as np

from edgepress_runtime.meters.reading import JOULES, MeterError, Reading, Silent

IDLE_S, RUN_S, SETTLE_S = 2.0, 4.0, 0.3
WHOLE_S = round(RUN_S + 2 * (IDLE_S + SETTLE_S))
_LEAST_READINGS = 5
_LONGEST_GAP_S = 1.0
_LEAST_W = 1e-6


class Recorder(Protocol):
    """What a `Sampler` and a `LogFile` have in common. `clock()` is the time that its readings are stamped with."""

    source: str
    unit: str
    period_s: float
    clock: Callable[[], float]

    def __enter__(self) -> Recorder: ...
    def __exit__(self, *_: object) -> None: ...
    def readings(self, until: float) -> tuple[Reading, ...]: ...


@dataclass(frozen=True)
class Energy:
    """What one inference took, in millijoules: (`run_j` - `idle_w` x `run_s`) / `runs` x 1000.

    `mj` is None where nothing told it, and `reason` (with `remedy`) then says why. `idle_before_w` and `idle_after_w`
    are means over the rest before and after, `idle_w` their mean, `idle_spread_w` how uncertain that is: half their
    difference, and the standard error of the readings. `windows` are (begin, end) in seconds since 1970.
    """

    mj: float | None
    source: str | None
    method: str | None = None
    reason: str = ""
    remedy: str = ""
    runs: int = 0
    run_s: float | None = None
    run_j: float | None = None
    run_w: float | None = None
    idle_w: float | None = None
    idle_before_w: float | None = None
    idle_after_w: float | None = None
    idle_spread_w: float | None = None
    readings: int = 0
    windows: Mapping[str, tuple[float, float]] | None = None


def unknown(silent: Silent) -> Energy:
    """The energy where no meter can be read."""
    return Energy(None, None if silent.source == "none" else silent.source, reason=silent.reason, remedy=silent.remedy)


def measure(
    recorder: Recorder,
    call: Callable[[], object],
    *,
    idle_s: float | None = None,
    run_s: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Energy:
    """Rest, call for `run_s` (RUN_S) seconds without a pause, rest again; the recorder listens all the while.

    Each rest is of `idle_s` (IDLE_S) seconds.
    A recorder that fails, leaves gaps or sees no difference gives `mj` None with the reason.
    """
    idle_s, run_s = IDLE_S if idle_s is None else idle_s, RUN_S if run_s is None else run_s
    clock = recorder.clock
    offset = time.time() - clock()
    windows: dict[str, tuple[float, float]] = {}

    def rest(name: str) -> None:
        sleep(SETTLE_S)  # a sensor averages over up to 0.1 s, and regulators take their time
        begin = clock()
        sleep(idle_s)
        windows[name] = (begin, clock())

    with recorder:
        rest("idle_before")
        runs, begin = 0, clock()
        end = begin
        while end < begin + run_s:
            call()
            runs += 1
            end = clock()
        windows["run"] = (begin, end)
        rest("idle_after")
    told = {name: (begin + offset, end + offset) for name, (begin, end) in windows.items()}
    try:
        return between(recorder.readings(windows["idle_after"][1]), windows, runs, told)
    except MeterError as error:
        return Energy(None, recorder.source, reason=error.what, remedy=error.remedy, runs=runs, windows=told)


def between(
    readings: Sequence[Reading],
    windows: Mapping[str, tuple[float, float]],
    runs: int,
    told: Mapping[str, tuple[float, float]] | None = None,
) -> Energy:
    """The energy of `runs` calls in `windows["run"]` over the idle power in the windows before and after it.

    `windows` are on the readings' clock. Raises MeterError where the readings do not cover them.
    """
    joules_of = {name: joules(readings, *window) for name, window in windows.items()}
    watts = {name: joules_of[name] / (end - begin) for name, (begin, end) in windows.items()}
    before, after = watts["idle_before"], watts["idle_after"]
    idle = (before + after) / 2
    noise = [_standard_error(readings, *windows[name]) for name in ("idle_before", "idle_after")]
    spread = math.hypot((before - after) / 2, math.hypot(*noise) / 2)
    begin, end = windows["run"]
    net = joules_of["run"] - idle * (end - begin)
    seen = net > max(2 * spread, _LEAST_W) * (end - begin)
    told_values = len(_inside(readings, begin, end))
    counter = readings[0].unit == JOULES
    return Energy(
        mj=net / runs * 1e3 if seen else None,
        source=readings[0].source,
        method=f"{'a counter, read' if counter else 'power by trapezoids, read'} {told_values} times",
        reason="" if seen else _too_little(net / (end - begin), 2 * spread),
        remedy="" if seen else "measure longer on a quieter board, or with a finer sensor",
        runs=runs,
        run_s=end - begin,
        run_j=joules_of["run"],
        run_w=watts["run"],
        idle_w=idle,
        idle_before_w=before,
        idle_after_w=after,
        idle_spread_w=spread,
        readings=len(readings),
        windows=told or dict(windows),
    )


def _too_little(net_w: float, known_to_w: float) -> str:
    return f"running took {net_w:.3f} W over idle, which itself is only known to within {known_to_w:.3f} W"


def joules(readings: Sequence[Reading], begin: float, end: float) -> float:
    """Energy from `begin` to `end`, in seconds on the readings' clock.

    Powers are integrated by the trapezoidal rule, with the values at both ends interpolated; of a counter the
    difference is taken, interpolated likewise. Raises MeterError where the readings do not reach that far, are too few
    or leave a gap.
    """
    inside = _inside(readings, begin, end)
    if not readings or readings[0].t > begin or readings[-1].t < end:
        missing = "began too late" if readings and readings[0].t > begin else "ends too early"
        raise MeterError(
            f"what {readings[0].source if readings else 'the meter'} told {missing}: it does not cover the measurement",
            "let a logger run before and after, and set its clock",
        )
    if len(inside) < _LEAST_READINGS:
        raise MeterError(
            f"{readings[0].source} told only {len(inside)} values in {end - begin:.1f} s", "let it measure more often"
        )
    t = np.array([reading.t for reading in readings])
    value = np.array([reading.value for reading in readings])
    edges = np.concatenate([[begin], t[(t > begin) & (t < end)], [end]])
    gap = float(np.diff(edges).max())
    if gap > _LONGEST_GAP_S:
        raise MeterError(f"{readings[0].source} told nothing for {gap:.1f} s of the measurement", "measure again")
    at = np.interp(edges, t, value)
    if readings[0].unit == JOULES:
        return float(at[-1] - at[0])
    return float(np.sum(np.diff(edges) * (at[1:] + at[:-1]) / 2))


def _standard_error(readings: Sequence[Reading], begin: float, end: float) -> float:
    """Of the mean power in a window, in watts, as if its readings were independent."""
    inside = _inside(readings, begin, end)
    value = np.array([reading.value for reading in inside])
    if inside[0].unit == JOULES:
        value = np.diff(value) / np.maximum(np.diff([reading.t for reading in inside]), 1e-9)
    return float(np.std(value) / np.sqrt(len(value)))


def _inside(readings: Sequence[Reading], begin: float, end: float) -> list[Reading]:
    return [reading for reading in readings if begin <= reading.t <= end]
