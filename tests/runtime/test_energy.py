"""Known joules: a thread plays a power into a tree of files, a meter reads it, and the integral is known exactly."""

from __future__ import annotations

import math
import shutil
import threading
import time

import numpy as np
import pytest
from tests.runtime import trees
from tests.runtime.lockstep import Lockstep

from edgepress_runtime.meters import hwmon, rapl
from edgepress_runtime.meters.choice import energy_meter
from edgepress_runtime.meters.energy import between, joules, measure, unknown
from edgepress_runtime.meters.logger import LogFile
from edgepress_runtime.meters.reading import Meter, MeterError, Reading, Silent
from edgepress_runtime.meters.sampler import Sampler

IDLE_S, RUN_S, SETTLE_S = 2.0, 4.0, 0.3
START, BEGIN = 1000.0, 1000.0 + SETTLE_S + IDLE_S  # when the run begins


def watts(t: float) -> float:
    """2 W of idling that creeps up by 10 mW a second; while running 1.5 W more, with a swing of 0.4 W at 1.7 Hz."""
    extra = 1.5 + 0.4 * math.sin(2 * math.pi * 1.7 * (t - BEGIN)) if BEGIN <= t < BEGIN + RUN_S else 0.0
    return 2.0 + 0.01 * (t - START) + extra


def true_mj(run_s: float, calls: int) -> float:
    """What a call took over idle, in millijoules: the integral of `watts` without its idling, by hand."""
    swing = 0.4 / (2 * math.pi * 1.7) * (1 - math.cos(2 * math.pi * 1.7 * run_s))
    return (1.5 * run_s + swing) / calls * 1e3


def test_known_joules_through_an_ina226(tmp_path):
    folder = trees.ina(tmp_path, name="ina226")

    def world(t: float) -> None:
        step = 6250  # the power register of an INA226 with a shunt of 10 mOhm counts in 6.25 mW
        (folder / "power1_input").write_text(f"{round(watts(t) * 1e6 / step) * step}\n")

    virtual = Lockstep(world)
    (meter,) = hwmon.find(tmp_path)
    recorder = Sampler(meter, clock=virtual.clock, wait=virtual.wait)
    found = measure(recorder, virtual.call, idle_s=IDLE_S, run_s=RUN_S, sleep=virtual.sleep)
    virtual.close()
    assert found.reason == ""
    assert found.runs == virtual.calls == math.ceil(RUN_S / 0.013)
    assert found.mj == pytest.approx(true_mj(found.run_s, found.runs), rel=0.01)
    assert found.idle_w == pytest.approx(2.043, abs=0.005)
    assert found.idle_before_w < found.idle_w < found.idle_after_w  # so the creeping cancels out
    assert found.source == "hwmon0 ina226 power1"
    assert found.method == "power by trapezoids, read 200 times"
    assert found.windows["run"][1] - found.windows["run"][0] == pytest.approx(found.run_s)


def test_known_joules_through_rapl_that_begins_anew(tmp_path):
    most = 20_000_000
    folder = trees.rapl(tmp_path, uj=0, most=most)
    state = {"t": START, "j": 12.0}

    def world(t: float) -> None:
        steps = np.linspace(state["t"], t, 50)
        state["j"] += float(np.mean([watts(s) for s in steps])) * (t - state["t"])
        state["t"] = t
        (folder / "energy_uj").write_text(f"{int(state['j'] * 1e6) % most}\n")

    virtual = Lockstep(world)
    (meter,) = rapl.find(tmp_path)
    recorder = Sampler(meter, clock=virtual.clock, wait=virtual.wait)
    found = measure(recorder, virtual.call, idle_s=IDLE_S, run_s=RUN_S, sleep=virtual.sleep)
    virtual.close()
    assert state["j"] > 20.0  # it did begin anew
    assert found.mj == pytest.approx(true_mj(found.run_s, found.runs), rel=0.01)
    assert found.method.startswith("a counter, read ")


@pytest.mark.parametrize("when", [0.5, 3.0, 6.5])
def test_a_sensor_that_is_unplugged_on_the_way_gives_nothing(tmp_path, when):
    folder = trees.ina(tmp_path)

    def world(t: float) -> None:
        if t - START < when:
            (folder / "power1_input").write_text("2000000\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)

    virtual = Lockstep(world)
    recorder = Sampler(hwmon.find(tmp_path)[0], clock=virtual.clock, wait=virtual.wait)
    found = measure(recorder, virtual.call, idle_s=IDLE_S, run_s=RUN_S, sleep=virtual.sleep)
    virtual.close()
    assert found.mj is None and found.run_j is None
    assert found.reason == "hwmon0 ina226 power1 no longer answers: No such file or directory"
    assert found.remedy == "look whether the sensor is still wired"


def test_a_sensor_that_was_never_there_lets_the_measurement_go_on():
    def read() -> float:
        raise MeterError("it is gone", "plug it in")

    calls = []
    found = measure(Sampler(Meter("x", "W", 0.01, read)), lambda: calls.append(1), idle_s=0, run_s=0.01)
    assert (found.mj, found.reason, found.remedy) == (None, "it is gone", "plug it in")
    assert calls


def readings(t, values, unit="W"):
    return [Reading(float(v), unit, float(s), "meter") for s, v in zip(t, values)]


def test_trapezoids_are_exact_for_a_ramp_read_at_odd_times():
    t = np.sort(np.concatenate([[0, 4.0], np.random.default_rng(0).uniform(0, 4, 40)]))
    told = readings(t, 3 * t + 1)
    for begin, end in ((0, 4), (0.333, 3.9), (1.01, 1.99)):
        assert joules(told, begin, end) == pytest.approx(1.5 * (end**2 - begin**2) + (end - begin), rel=1e-12)


def test_a_counter_s_difference_is_taken_between_the_edges():
    told = readings(np.arange(0, 5, 0.25), 7 * np.arange(0, 5, 0.25), unit="J")
    assert joules(told, 1.1, 3.3) == pytest.approx(7 * 2.2)


@pytest.mark.parametrize(
    ("t", "begin", "end", "sentence"),
    [
        ([], 1, 2, "what the meter told ends too early"),
        (np.arange(1.5, 5, 0.1), 1, 2, "what meter told began too late"),
        (np.arange(0, 1.9, 0.1), 1, 2, "what meter told ends too early"),
        ([0, 1.3, 1.6, 2, 3], 1, 2, "meter told only 3 values in 1.0 s"),
        ([0, *np.arange(1, 1.55, 0.1), 2.8, 3], 0.9, 2.9, "meter told nothing for 1.3 s of the measurement"),
    ],
)
def test_what_readings_must_cover(t, begin, end, sentence):
    with pytest.raises(MeterError) as caught:
        joules(readings(t, np.ones(len(t))), begin, end)
    assert caught.value.what.startswith(sentence)


WINDOWS = {"idle_before": (0.0, 2.0), "run": (2.0, 6.0), "idle_after": (6.0, 8.0)}


def test_a_difference_below_the_noise_is_not_told():
    rng = np.random.default_rng(1)
    t = np.arange(-0.1, 8.2, 0.02)
    quiet = between(readings(t, 2 + 0.1 * ((t >= 2) & (t < 6))), WINDOWS, 100)
    assert quiet.mj == pytest.approx(0.1 * 4 / 100 * 1e3, rel=0.01)
    noisy = between(readings(t, 2 + 0.01 * ((t >= 2) & (t < 6)) + rng.normal(0, 0.3, len(t))), WINDOWS, 100)
    assert noisy.mj is None
    assert "over idle, which itself is only known to within" in noisy.reason
    assert noisy.run_j == pytest.approx(8, rel=0.05)  # what was seen is told nevertheless
    drifting = between(readings(t, 2 + 0.1 * t + 0.1 * ((t >= 2) & (t < 6))), WINDOWS, 100)
    assert drifting.mj is None


def test_a_log_is_lined_up_with_the_time_of_day(tmp_path):
    path = tmp_path / "log.csv"
    begin = time.time() - 1
    rows = [f"{begin + i / 100:.3f},2.0" for i in range(6000)]
    path.write_text("time,watts\n" + "\n".join(rows) + "\n")
    found = measure(LogFile(path), lambda: time.sleep(0.01), idle_s=0.3, run_s=0.3)
    assert found.mj is None and found.run_w == pytest.approx(2.0) and found.idle_w == pytest.approx(2.0)
    inside = found.windows["run"]
    # The same windows over a log that knows of a run: 5 W then, 2 W else.
    told = readings(
        np.arange(begin, begin + 30, 0.01),
        [5.0 if inside[0] <= t <= inside[1] else 2.0 for t in np.arange(begin, begin + 30, 0.01)],
    )
    again = between(told, found.windows, found.runs)
    assert again.mj == pytest.approx(3.0 * (inside[1] - inside[0]) / found.runs * 1e3, rel=0.1)


def test_a_log_of_another_day(tmp_path):
    (tmp_path / "log.csv").write_text("time,watts\n1795600000,2\n1795600001,2\n")
    found = measure(LogFile(tmp_path / "log.csv", wait_s=0), lambda: None, idle_s=0.01, run_s=0.01)
    assert found.mj is None
    assert found.remedy == "let a logger run before and after, and set its clock"


# ---- the thread


def test_the_sampler_reads_until_it_is_told_to_stop():
    value = iter(range(10**6))
    sampler = Sampler(Meter("x", "W", 0.001, lambda: float(next(value))))
    with sampler:
        deadline = time.monotonic() + 30
        while len(sampler.readings(0)) < 5 and time.monotonic() < deadline:
            time.sleep(0.001)
    found = sampler.readings(0)
    assert len(found) >= 6
    assert [r.value for r in found] == sorted(r.value for r in found)
    assert [r.t for r in found] == sorted(r.t for r in found)
    assert not any(thread.name == "meter" for thread in threading.enumerate())
    assert sampler.readings(0) == found


def test_a_meter_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr("edgepress_runtime.meters.sampler.JOIN_S", 0.05)
    release, hanging = threading.Event(), threading.Event()

    def read() -> float:
        if threading.current_thread().name == "meter":
            hanging.set()
            release.wait(60)
        return 1.0

    sampler = Sampler(Meter("x", "W", 0.001, read))
    with sampler:
        assert hanging.wait(60)
    with pytest.raises(MeterError, match="x hangs"):
        sampler.readings(0)
    release.set()


# ---- the choice of a command line


def test_the_meter_of_a_command_line(tmp_path, monkeypatch):
    assert energy_meter("none", root=tmp_path)(lambda: None) == unknown(Silent("none", "no meter was asked"))
    assert energy_meter("auto", root=tmp_path)(lambda: None).reason == "no power meter answers here"
    trees.ina(tmp_path)
    for name, seconds in (("IDLE_S", 0.2), ("RUN_S", 0.2), ("SETTLE_S", 0.0)):
        monkeypatch.setattr(f"edgepress_runtime.meters.energy.{name}", seconds)
    told = []
    found = energy_meter(root=tmp_path, progress=lambda done, total: told.append((done, total)))(
        lambda: time.sleep(0.001)
    )
    assert found.source == "hwmon0 ina226 power1"
    assert told and {total for _, total in told} == {9}
