"""What every kind of meter must do, over a tree of files in which it finds one."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.runtime import trees

from edgepress_runtime.meters.reading import JOULES, WATTS, Meter, MeterError
from edgepress_runtime.meters.sources import SOURCES, choose, find


def _pmic(root: Path) -> None:
    trees.program(root, "usr/bin/vcgencmd", 'cat "$0.pmic"')
    trees.plant(root, {"usr/bin/vcgencmd.pmic": trees.PMIC})


TREES: dict[str, Callable[[Path], object]] = {"hwmon": trees.ina, "pmic": _pmic, "rapl": trees.rapl}


def test_every_kind_is_held_to_it() -> None:
    assert TREES.keys() == SOURCES.keys()


@pytest.fixture(params=SOURCES)
def planted(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Meter]:
    TREES[request.param](tmp_path)
    (meter,) = SOURCES[request.param](tmp_path)
    assert isinstance(meter, Meter)
    return request.param, tmp_path, meter


def test_it_tells_what_and_how_often(planted) -> None:
    kind, root, meter = planted
    assert meter.unit in (WATTS, JOULES)
    assert 0 < meter.period_s <= 0.5  # five readings in the shortest window that is measured
    assert meter.source and meter.source.isprintable()
    assert choose("auto", root).source == choose(kind, root).source == choose(meter.source, root).source == meter.source


def test_it_answers_again_and_again(planted) -> None:
    values = [planted[2].read() for _ in range(3)]
    assert all(isinstance(value, float) and math.isfinite(value) and value >= 0 for value in values)
    assert len(set(values)) == 1  # nothing changes in a tree of files


def test_it_says_when_it_is_gone(planted) -> None:
    _, root, meter = planted
    meter.read()
    shutil.rmtree(root)
    with pytest.raises(MeterError) as caught:
        meter.read()
    assert "no longer answers" in caught.value.what and caught.value.remedy


def test_it_is_silent_on_other_machines(tmp_path: Path) -> None:
    assert find(tmp_path) == {kind: [] for kind in SOURCES}
