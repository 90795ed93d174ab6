"""Logs of other makers' power meters."""

from __future__ import annotations

import threading
import time
from datetime import datetime

import pytest

from edgepress_runtime.meters.logger import LogFile, read
from edgepress_runtime.meters.reading import MeterError

T = 1795600000.0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("time,watts\n1795600000,2.5\n1795600001.5,3\n", [(T, 2.5), (T + 1.5, 3.0)]),
        ("Timestamp;Voltage (V);Current (mA)\n1795600000000;5.0;500\n", [(T, 2.5)]),
        ("time_us\tmW\n1795600000000000\t2500\n", [(T, 2.5)]),
        ("\ufeffTime,Volts,Amps,Power (W)\r\n1795600000,5,9,2.5\r\n", [(T, 2.5)]),  # a power goes before a product
        ("date,current,voltage\n2026-11-25T09:46:40Z,0.5,5\n", [(T, 2.5)]),
        ("date,w\n2026-11-25T09:46:40.5Z,1\n2026-11-25T09:46:40.123456789Z,2\n", [(T + 0.123456, 2.0), (T + 0.5, 1.0)]),
        ("date,w\n2026-11-25 10:46:40.500+01:00,1\n", [(T + 0.5, 1.0)]),
        ("# made by a meter\ntime,current µA,V\n1795600001,500000,5\n1795600000,1000000,5\n", [(T, 5.0), (T + 1, 2.5)]),
        ("time,watts\n1795600000,2.5\nnonsense,1\n1795600001,\n1795600002,nan\n1795600003,2", [(T, 2.5), (T + 3, 2.0)]),
        ("time,watts\n", []),
    ],
)
def test_columns_units_and_times(tmp_path, text, expected):
    (tmp_path / "log.csv").write_bytes(text.encode())
    found = read(tmp_path / "log.csv")
    assert [(r.t, r.value) for r in found] == [(pytest.approx(t), pytest.approx(w)) for t, w in expected]
    assert {(r.unit, r.source) for r in found} <= {("W", "csv log.csv")}


def test_a_date_without_a_zone_is_local(tmp_path):
    moment = datetime.fromtimestamp(T).isoformat()
    (tmp_path / "log.csv").write_text(f"time,watts\n{moment},2\n")
    assert read(tmp_path / "log.csv")[0].t == T


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("1795600000,2.5\n", "does not name a time and a power in its first line"),
        ("time,volts\n1,5\n", "does not name a time and a power in its first line"),
    ],
)
def test_files_that_are_no_logs(tmp_path, text, sentence):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(MeterError) as caught:
        read(tmp_path / "log.csv")
    assert sentence in caught.value.what
    assert caught.value.remedy == "it needs a first line such as time,watts or time,volts,amps"


def test_a_log_that_is_still_written_is_waited_for(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(f"time,watts\n{T},1\n")

    def later() -> None:
        time.sleep(0.3)
        with path.open("a") as file:
            file.write(f"{T + 2},1\n")

    writer = threading.Thread(target=later)
    writer.start()
    found = LogFile(path, wait_s=60).readings(T + 1)
    writer.join()
    assert found[-1].t == T + 2


def test_a_log_that_ends_is_not_waited_for_for_ever(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(f"time,watts\n{T},1\n")
    assert LogFile(path, wait_s=0.3).readings(T + 1)[-1].t == T
