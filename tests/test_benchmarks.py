"""Every benchmark runs in its quick form; its tables are whole, and what it compares came out the same."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
SAME = {
    "data": 14,
    "step": 6,
    "embed": 2,
    "search": 4,
    "page": 1,
    "server": 1,
    "ray_tasks": 2,
    "remote": 1,
}  # at least so many comparisons of results before anything is timed
TABLES = {
    "data": 4,
    "step": 3,
    "memory": 1,
    "processes": 1,
    "shared_machine": 1,
    "before_after": 5,
    "scaling": 4,
    "embed": 2,
    "search": 2,
    "server": 3,
    "remote": 3,
    "ray_tasks": 2,
    "failing_workers": 2,
    "duplicates": 2,
    "versions": 1,
    "index": 3,
    "long_videos": 2,
    "page": 6,
    "plan": 2,
}


def run(name: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py", "--quick"], capture_output=True, text=True, env=environment, timeout=900
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def tables(text: str) -> list[list[list[str]]]:
    """Rows of cells of each Markdown table, its head first."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", text, re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines(keepends=True)]
        found.append([row for row in rows if not set("".join(row)) <= {"-"}])
    return found


def is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_quick_benchmark_prints_whole_tables_and_compared_results(name: str) -> None:
    text = run(name)
    assert re.search(r"- machine: .+ cores", text)
    assert re.search(r"- versions: torch \d.*numpy \d", text)
    assert re.search(r"- 1 thread, seed 0, quick; ", text)
    found = tables(text)
    assert len(found) == TABLES[name]
    for head, *rows in found:
        assert rows
        assert {len(row) for row in rows} == {len(head)}
        assert all(sum(map(is_number, row)) >= 1 for row in rows)
        assert all(float(cell) >= 0 for row in rows for cell in row[1:] if is_number(cell))
    assert text.count("- same: ") >= SAME.get(name, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["augment", "degree_sampler"])
def test_the_tables_of_a_single_part_are_printed(name: str) -> None:
    lines = [line.split() for line in run(name).splitlines()]
    assert sum(sum(map(is_number, line)) >= 3 for line in lines) >= 4


@pytest.mark.slow
def test_encoders_are_compared_with_and_without_labels() -> None:
    found = tables(run("label_free"))
    assert len(found) == 1
    head, *rows = found[0]
    assert head[0] == "encoder"
    assert "random numbers" in [row[0] for row in rows]
    assert all(is_number(cell) for row in rows for cell in row[1:])


@pytest.mark.slow
def test_copies_are_nearer_than_other_videos() -> None:
    ((head, *rows),) = tables(run("near_copies"))
    most = {row[0]: float(row[head.index("most")]) for row in rows}
    least = {row[0]: float(row[head.index("least")]) for row in rows}
    assert min(least["re-encoded"], least["scaled"]) > max(most["takes of one scene"], most["others"])


@pytest.mark.slow
def test_every_benchmark_is_run_here() -> None:
    runnable = {path.stem for path in FOLDER.glob("*.py") if "def main() -> None" in path.read_text()}
    own_tests, minutes, want_videos = {"arena", "ladder"}, {"evaluation"}, {"motion_only", "search_classes"}
    known = {*TABLES, "augment", "degree_sampler", "label_free", "near_copies"} | own_tests | minutes | want_videos
    assert runnable == known
