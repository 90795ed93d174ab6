"""Looks at a machine: clocks, heat and throttling flags from trees of files, and others' work from real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from tests.runtime import trees

from edgepress_runtime import conditions


def test_a_board_that_tells_everything(tmp_path):
    found = conditions.observe(trees.zero_2_w(tmp_path))
    assert (found.cpu_mhz, found.max_mhz, found.governor, found.temperature_c) == (600.0, 1000.0, "ondemand", 61.2)
    assert found.throttled == 0x50005
    assert found.throttled_now == ("under-voltage", "throttled")
    assert found.throttle_events is None
    assert abs(found.t - time.time()) < 30
    assert conditions.told(found)["throttled"] == "0x50005"


def test_a_machine_that_tells_nothing(tmp_path):
    found = conditions.observe(tmp_path)
    assert (found.cpu_mhz, found.governor, found.temperature_c, found.throttled) == (None, None, None, None)
    assert found.throttled_now == ()
    assert conditions.told(found)["throttled"] is None


def test_the_fastest_core_and_the_hottest_zone(tmp_path):
    trees.clocks(tmp_path, cores=12, khz=800000, most_khz=1800000, governor="schedutil")
    (tmp_path / "sys/devices/system/cpu/cpu10/cpufreq/scaling_cur_freq").write_text("1800000\n")
    trees.heat(tmp_path, 40000)
    trees.heat(tmp_path, 71500, zone=11, kind="gpu")
    found = conditions.observe(tmp_path)
    assert (found.cpu_mhz, found.temperature_c) == (1800.0, 71.5)


def test_flags_come_from_vcgencmd_where_there_is_no_file(tmp_path):
    trees.program(tmp_path, "usr/bin/vcgencmd", '[ "$1" = get_throttled ] && echo throttled=0x80008')
    assert conditions.throttled(tmp_path) == 0x80008
    trees.program(tmp_path, "usr/bin/vcgencmd", "echo VCHI initialization failed; exit 255")
    assert conditions.throttled(tmp_path) is None


@pytest.mark.parametrize(
    ("value", "now", "since_start"),
    [
        (0x0, (), ()),
        (0x50000, (), ("under-voltage", "throttled")),
        (0x50005, ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        (0xE0008, ("soft temperature limit",), ("clock capped", "throttled", "soft temperature limit")),
        (None, (), ()),
    ],
)
def test_what_the_flags_mean(value, now, since_start):
    assert (conditions.flags(value), conditions.flags(value, since_start=True)) == (now, since_start)


def test_what_came_up_between_two_looks():
    assert conditions.new_flags(0x10000, 0x50000) == ("throttled",)
    assert conditions.new_flags(0x50000, 0x50000) == ()
    assert conditions.new_flags(None, 0x50000) == ()


def test_x86_counts_its_throttling(tmp_path):
    for core, count in ((0, 3), (1, 4)):
        trees.plant(tmp_path, {f"sys/devices/system/cpu/cpu{core}/thermal_throttle/core_throttle_count": count})
    assert conditions.observe(tmp_path).throttle_events == 7


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/stat is Linux's")
def test_our_own_work_is_not_that_of_others():
    before = conditions.cpu_times()
    end = time.process_time() + 0.4
    while time.process_time() < end:
        pass
    after = conditions.cpu_times()
    assert after.own_s - before.own_s == pytest.approx(0.4, abs=0.1)
    assert after.all_s - before.all_s >= 0.3  # what others do comes on top
    busy = conditions.others(before, after)
    again = conditions.CpuTimes(after.t, after.all_s + 2 * (after.t - before.t), after.own_s)
    assert conditions.others(before, again) == pytest.approx(busy + 2.0, abs=0.3)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/stat is Linux's")
def test_children_that_ended_are_our_own():
    before = conditions.cpu_times()
    code = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert conditions.cpu_times().own_s - before.own_s >= 0.25


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/stat is Linux's")
def test_idling_and_waiting_for_a_card_are_no_work(tmp_path):
    tick = os.sysconf("SC_CLK_TCK")
    trees.plant(tmp_path, {"proc/stat": "cpu  100 20 50 9000 700 3 4 5 60 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n"})
    assert conditions.cpu_times(tmp_path).all_s == pytest.approx((100 + 20 + 50 + 3 + 4 + 5) / tick)


def test_where_nothing_is_counted(tmp_path):
    assert conditions.cpu_times(tmp_path) is None
    trees.plant(tmp_path, {"proc/stat": "cpu 1 2 x\n"})
    assert conditions.cpu_times(tmp_path) is None
    assert conditions.others(None, None) is None
