"""Every table at scale tiny, as it is typed; and killed in the middle and given again it ends the same."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from children import wait_for

from cacl.experiments.reproduce.paper_tables import paper_table

pytestmark = pytest.mark.slow
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command(table: str, out: Path) -> list[str]:
    return [sys.executable, "-m", "cacl", "reproduce", table, "--scale", "tiny", "--out", str(out)]


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Which file it is and when it was written, of all that ends a part."""
    files = [*folder.glob("runs/*/finished.json"), *folder.glob("runs/*/encoder/*"), *folder.glob("results/*.json")]
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by the tables, as a user would."""
    return tmp_path_factory.mktemp("tiny") / "out"


@pytest.mark.parametrize(
    ("table", "trainings", "numbers"),
    [
        ("table1", 8, 8 * 5),
        ("table2", 4, 4 * 5),
        ("table3", 3, 3 * 4),
        ("table4", 12, 22 * 5),  # C3D, R3D and R(2+1)D on both sets, CACL* and RSPNet on one
        ("table5", 25, 49 * 3),  # CACL of Kinetics on one
        ("fig3", 1, 3),
    ],
)
def test_every_table_ends_with_ours_beside_the_papers(table: str, trainings: int, numbers: int, out: Path) -> None:
    before = stamps(out)
    ended = subprocess.run(command(table, out), env=ENVIRONMENT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert f"{trainings} of {trainings} trainings" in ended.stderr
    assert ended.stdout.splitlines()[-1] == f"Page: {out / table}.html  Numbers: {out / table}.csv"
    with (out / f"{table}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = {row.name for row in paper_table(table).rows}
    assert len([row for row in rows if row["row"] in names and row["ours"]]) == numbers
    assert (out / f"{table}.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    after = stamps(out)
    assert {name: after[name] for name in before} == before  # other tables' parts are taken as they are


def test_killed_in_the_middle_it_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command("table2", whole), env=ENVIRONMENT, check=True, capture_output=True)
    kept: dict[str, tuple[int, int]] = {}
    # in the third training; between that and the end of the trainings; among the evaluations
    for pattern in ("runs/pairs3-*/config.yaml", "runs/cacl-*/metrics.jsonl", "results/retrieval-pairs2-*"):
        child = subprocess.Popen(
            command("table2", out), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(out, pattern, lambda child=child: child.poll() is None, seconds=1200)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        now = stamps(out)
        assert {name: now[name] for name in kept} == kept, "what was finished was done again"
        kept = now
    assert "runs/pairs2-c3d-ucf101-seed0/finished.json" in kept
    ended = subprocess.run(command("table2", out), env=ENVIRONMENT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    now = stamps(out)
    assert {name: now[name] for name in kept} == kept
    assert (out / "table2.csv").read_bytes() == (whole / "table2.csv").read_bytes()
