"""Meters over trees of files with the register values that real drivers gave, and the choice among them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.runtime import trees

from edgepress_runtime.errors import EdgepressError
from edgepress_runtime.meters import hwmon, pmic, rapl, sources
from edgepress_runtime.meters.reading import Meter, MeterError, Silent


@pytest.mark.parametrize(
    ("name", "values", "watts"),
    [
        ("ina226", {"mv": 5000, "ma": 1000, "uw": 5_000_000}, 5.0),
        ("ina226", {"mv": 5000, "ma": 100, "uw": 500_000}, 0.5),  # a shunt of 100 mOhm
        ("ina219", {"mv": 5000, "ma": 1000, "uw": 5_000_000}, 5.0),
        ("ina260", {"mv": 5100, "ma": 2, "uw": 10_000}, 0.01),
    ],
)
def test_an_ina_sensor_tells_its_power(tmp_path, name, values, watts):
    trees.ina(tmp_path, 2, name=name, **values)
    (meter,) = hwmon.find(tmp_path)
    assert isinstance(meter, Meter) and meter.whole
    assert (meter.source, meter.unit, meter.read()) == (f"hwmon2 {name} power1", "W", pytest.approx(watts))


def test_a_sensor_that_is_wired_backwards_is_not_believed(tmp_path):
    trees.ina(tmp_path, ma=-100)  # the power register has no sign and still says 5 W
    with pytest.raises(MeterError) as caught:
        hwmon.find(tmp_path)[0].read()
    assert (caught.value.what, caught.value.remedy) == (
        "hwmon0 ina226 power1: the current is negative",
        "swap the two wires of the sensor",
    )


def test_a_sensor_without_power_multiplies(tmp_path):
    folder = "sys/class/hwmon/hwmon1"
    values = {"in1_input": 5000, "curr1_input": 300, "in2_input": 3300, "curr2_input": 100, "in3_input": 1800}
    trees.plant(tmp_path, {f"{folder}/name": "ina3221\n", **{f"{folder}/{k}": v for k, v in values.items()}})
    first, second = hwmon.find(tmp_path)
    assert (first.source, first.read()) == ("hwmon1 ina3221 curr1 x in1", pytest.approx(1.5))
    assert (second.source, second.read()) == ("hwmon1 ina3221 curr2 x in2", pytest.approx(0.33))


def test_a_sensor_that_is_unplugged(tmp_path):
    folder = trees.ina(tmp_path)
    (meter,) = hwmon.find(tmp_path)
    meter.read()
    shutil.rmtree(folder)
    with pytest.raises(MeterError, match="no longer answers: No such file or directory"):
        meter.read()


def test_a_sensor_that_answers_nonsense(tmp_path):
    folder = trees.ina(tmp_path)
    (folder / "power1_input").write_text("N/A\n")
    with pytest.raises(MeterError, match="power1_input holds no number"):
        hwmon.find(tmp_path)[0].read()


def test_the_pmic_s_rails_are_paired_by_name(tmp_path):
    expected = (
        0.09368929 * 3.699776 + 0.0878337 * 3.310033 + 0.1805471 * 1.805126 + 6.22421 * 0.861733 + 0.0241758 * 5.08664
    )
    assert pmic.watts(trees.PMIC) == pytest.approx(expected, rel=1e-9)  # neither EXT5V nor BATT has a current
    assert pmic.watts("LONELY_A current(9)=0.5A\n" + trees.PMIC) == pytest.approx(expected, rel=1e-9)
    assert pmic.watts("") is None
    assert pmic.watts("EXT5V_V volt(24)=5.09066000V\n") is None
    trees.pi_5(tmp_path)
    (meter,) = pmic.find(tmp_path)
    assert meter.read() == pytest.approx(expected, rel=1e-9)
    trees.program(tmp_path, "usr/bin/vcgencmd", "exit 1")
    with pytest.raises(MeterError, match="pmic no longer answers"):
        meter.read()


def test_firmware_without_a_pmic(tmp_path):
    trees.program(tmp_path, "usr/bin/vcgencmd", 'echo "error=1 error_msg=\\"Command not registered\\""')
    assert pmic.find(tmp_path) == []
    assert pmic.find(tmp_path / "none") == []


def test_rapl_counts_on_when_its_counter_begins_anew(tmp_path):
    one = trees.rapl(tmp_path, uj=999_000_000, most=1_000_000_000)
    two = trees.rapl(tmp_path, name="package-1", number="1", uj=5_000_000)
    trees.rapl(tmp_path, name="core", number="0:0", uj=77)
    trees.rapl(tmp_path, name="psys", number="2", uj=99)
    (meter,) = rapl.find(tmp_path)
    assert (meter.source, meter.unit, meter.read()) == ("rapl package-0 + package-1", "J", 0.0)
    (one / "energy_uj").write_text("2000000\n")  # 1 J to the end of its range, 2 J after it
    (two / "energy_uj").write_text("9000000\n")
    assert meter.read() == pytest.approx(3.0 + 4.0)
    (one / "energy_uj").write_text("2500000\n")
    assert meter.read() == pytest.approx(7.5)


def test_rapl_for_root_alone(tmp_path, monkeypatch):
    trees.rapl(tmp_path)
    read_text = Path.read_text

    def guarded(path, *args, **options):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", guarded)  # root, who may run this, could read any mode
    (silent,) = rapl.find(tmp_path)
    assert (silent.reason, silent.remedy) == ("only root may read rapl package-0", "run it with sudo")


# ---- the choice


def test_a_sensor_in_the_supply_goes_before_the_board_s_own(tmp_path):
    trees.pi_5(tmp_path)
    trees.rapl(tmp_path)
    assert sources.choose("auto", tmp_path).source == "hwmon3 ina226 power1"
    assert sources.choose("pmic", tmp_path).source == "pmic"
    assert sources.choose("rapl", tmp_path).source == "rapl package-0"
    assert sources.choose("ina226", tmp_path).source == "hwmon3 ina226 power1"


def test_graphics_cards_and_batteries_are_not_chosen_unasked(tmp_path):
    trees.ina(tmp_path, 1, name="BAT0")
    silent = sources.choose("auto", tmp_path)
    assert isinstance(silent, Silent) and silent.reason == "no power meter answers here"
    assert sources.choose("BAT0", tmp_path).read() == 5.0


def test_of_two_sensors_none_is_guessed(tmp_path):
    trees.ina(tmp_path, 1)
    trees.ina(tmp_path, 10, name="ina219")
    silent = sources.choose("auto", tmp_path)
    assert isinstance(silent, Silent)
    assert silent.reason == "2 sensors answer: hwmon1 ina226 power1, hwmon10 ina219 power1"
    assert sources.choose("ina219", tmp_path).source == "hwmon10 ina219 power1"
    with pytest.raises(EdgepressError, match="2 meters are called 'hwmon': hwmon1 ina226 power1, hwmon10"):
        sources.choose("hwmon", tmp_path)
    with pytest.raises(EdgepressError, match="no power meter is called 'ina260'; found here: hwmon1"):
        sources.choose("ina260", tmp_path)


def test_nothing_here(tmp_path):
    with pytest.raises(EdgepressError, match="no power meter is called 'pmic'; found here: none"):
        sources.choose("pmic", tmp_path)
    assert isinstance(sources.choose("auto", tmp_path), Silent)
