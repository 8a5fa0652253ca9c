"""What a training costs, added up over its sittings."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cacl.machine import meter
from cacl.machine.meter import Meter, joules


def test_sittings_are_added_and_peaks_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    wall, processor, energy = iter([100.0, 107.0]), iter([10.0, 13.0]), iter([5.0, 9.5])
    monkeypatch.setattr(meter.time, "monotonic", lambda: next(wall))
    monkeypatch.setattr(meter.time, "process_time", lambda: next(processor))
    monkeypatch.setattr(meter, "joules", lambda: next(energy))
    monkeypatch.setattr(meter, "peak_bytes", lambda: 500)
    before = {"wall seconds": 3.0, "processor seconds": 2.0, "joules": 1.5, "peak bytes": 900.0}
    found = Meter(before).so_far()
    found.pop("peak device bytes", None)
    assert found == {"wall seconds": 10.0, "processor seconds": 5.0, "joules": 6.0, "peak bytes": 900.0}


def test_energy_that_is_known_in_part_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = iter([5.0, 9.0, 9.0, 3.0])
    monkeypatch.setattr(meter, "joules", lambda: next(counters))
    assert "joules" not in Meter({"wall seconds": 3.0, "processor seconds": 2.0}).so_far()
    assert "joules" not in Meter().so_far()  # the counter has wrapped


def test_counters_of_packages(tmp_path: Path) -> None:
    assert joules(tmp_path) is None
    for name, value in (("intel-rapl:0", "2000000"), ("intel-rapl:1", "500000"), ("intel-rapl:0:0", "99")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(value)
    assert joules(tmp_path) == 2.5
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("")
    assert joules(tmp_path) is None


ALONE = """
import numpy as np
from cacl.machine.meter import Meter, peak_bytes
spare = np.ones(20_000_000)
del spare
meter = Meter()
low = meter.so_far()["peak bytes"]
much = np.ones(10_000_000)  # 80 MB
assert much.sum() == 10_000_000
assert peak_bytes() >= low
print(meter.so_far()["peak bytes"] - low)
"""


def test_the_most_memory_counts_from_the_beginning() -> None:
    """In a process of its own: what the tests before used is no part of it."""
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 50e6
