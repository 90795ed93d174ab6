"""Measurements that should not be believed, each for one reason, and one that should."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest
from tests.runtime import trees

from edgepress_runtime.conditions import Conditions
from edgepress_runtime.validity import Record, Watch, judge

LOOK = Conditions(0.0, 1500.0, 1500.0, "performance", 50.0, 0x0, None, 0.2)
CALM = Record(LOOK, (LOOK, LOOK), LOOK, 0.1)
STEADY = 5 + np.random.default_rng(0).normal(0, 0.05, 400)


def look(**changes):
    return dataclasses.replace(LOOK, **changes)


def record(**changes):
    return dataclasses.replace(CALM, **changes)


def test_a_calm_board_is_believed():
    assert judge(STEADY, CALM, threads=4, cores=4) == ()
    unknown = Record(*(Conditions(0.0, *[None] * 7),) * 1, (), Conditions(0.0, *[None] * 7), None)
    assert judge(STEADY, unknown, threads=4, cores=4) == ()
    already = record(before=look(throttled=0x50000), during=(), after=look(throttled=0x50000))
    assert judge(STEADY, already, threads=1) == ()  # long ago, on a weak supply


@pytest.mark.parametrize(
    ("times", "seen", "reason"),
    [
        (2 * STEADY[:99], {}, "too short: 99 calls, and p99 needs at least 100"),
        (STEADY / 100, {}, "too short: 0.02 s of calls, of at least 0.5 s"),
        (np.tile([5.0, 5.0, 9.0], 100), {}, "too noisy: p90 is 1.80 times p50"),
        (np.repeat([5.0, 6.0], 200), {}, "not steady: its second half took 1.20 times as long"),
        (np.repeat([6.0, 5.0], 200), {}, "not steady: its first half took 1.20 times as long"),
        (STEADY, {"during": (look(throttled=0x4),)}, "throttled: throttled"),
        (STEADY, {"before": look(throttled=0x50005)}, "throttled: throttled, under-voltage"),
        (STEADY, {"after": look(throttled=0x20000)}, "throttled: clock capped"),  # between two looks
        (
            STEADY,
            {"before": look(throttle_events=3), "after": look(throttle_events=8)},
            "throttled: the processor slowed down 5 times because of heat",
        ),
        (STEADY, {"during": (look(), look(cpu_mhz=1000.0))}, "the clock went between 1000 and 1500 MHz"),
        (STEADY, {"others_cores": 2.4}, "busy: other programs kept 2.4 of 4 cores at work meanwhile"),
    ],
)
def test_one_reason_each(times, seen, reason):
    assert judge(times, record(**seen), threads=3, cores=4) == (reason,)


def test_a_clock_that_rises_from_idle_is_no_reason():
    assert judge(STEADY, record(before=look(cpu_mhz=600.0)), threads=1) == ()


def test_free_cores_are_free():
    assert judge(STEADY, record(others_cores=2.4), threads=2, cores=4) == ()
    assert judge(STEADY, record(others_cores=0.4), threads=9, cores=4) == ()


def test_the_watch_looks_before_during_and_after(tmp_path):
    trees.zero_2_w(tmp_path)
    watch = Watch(tmp_path)
    flags = tmp_path / "sys/devices/platform/soc/soc:firmware/get_throttled"
    flags.write_text("0\n")
    deadline = time.monotonic() + 30
    while not watch._during and time.monotonic() < deadline:
        watch.look()
    before_long = len(watch._during)
    watch.look()
    flags.write_text("80000\n")
    found = watch.end()
    assert (found.before.throttled, found.during[0].throttled, found.after.throttled) == (0x50005, 0, 0x80000)
    assert before_long == 1
