"""The ladder's arithmetic against hand-worked cells, and the whole of it in its quick form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cacl.evaluation.choice.difference import difference

FOLDER = Path(__file__).parent.parent / "benchmarks"
GROUPS = ["g1", "g1", "g2", "g3"]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def cell(recipe: str, budget: str, seed: int, right: str, **changes: Any) -> dict[str, Any]:
    of = {"R@1": 25.0 * right.count("1"), "R@5": 100.0, "R@10": 100.0, "right": right}
    plain = {"recipe": recipe, "budget": budget, "of": 4, "epochs": 4, "seed": seed, "steps": 8}
    return plain | {"processor seconds": 40.0, "share of frames": 0.0, "own": of} | changes


def write(folder: Path, cells: list[dict[str, Any]]) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "videos.json").write_text(json.dumps({"groups": GROUPS}))
    for number, each in enumerate(cells):
        (folder / f"{each['recipe']}-{each['budget']}4-{number}.json").write_text(json.dumps(each))


def test_a_difference_of_every_seed_is_told_with_its_interval(tmp_path: Path) -> None:
    from ladder_table import table

    write(
        tmp_path / "a",
        [cell("cvrl", "steps", s, "1111") for s in (0, 1)] + [cell("v-moco", "steps", s, "0000") for s in (0, 1)],
    )
    text = table(tmp_path / "a")
    assert "## 4 epochs each" in text
    rows = {row.split("|")[1].strip(): [c.strip() for c in row.split("|")[2:-1]] for row in text.splitlines()[4:]}
    assert rows["cvrl"][:6] == ["0, 1", "8", "40", "100.0 ± 0.0", "100.0 ± 0.0", "100.0 ± 0.0"]
    assert rows["cvrl"][6] == "+100.0 [+100.0, +100.0]"
    assert rows["v-moco"][6] == ""


def test_an_interval_is_that_of_compare_over_the_seeds_that_both_have() -> None:
    from ladder_table import interval

    first = [cell("a", "steps", seed, right) for seed, right in ((0, "1100"), (1, "1100"), (2, "1111"))]
    second = [cell("b", "steps", 1, "0000"), cell("b", "steps", 0, "0001")]
    both = [np.array([[1, 1, 0, 0], [1, 1, 0, 0]], float), np.array([[0, 0, 0, 1], [0, 0, 0, 0]], float)]
    found = difference(*both, GROUPS)
    assert found.mean == pytest.approx(100 * (2 - 1 + 2) / 8)  # two seeds of four videos
    assert found.low < found.mean < found.high
    text = interval(first, second, "own", "own", GROUPS)
    assert text == f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"
    assert interval(first, [cell("b", "steps", 7, "0000")], "own", "own", GROUPS) == ""


def test_at_equal_time_the_reference_stands_beside_the_others(tmp_path: Path) -> None:
    """Its epochs are those of its cells at equal steps, whatever other recipes have no cell at equal time."""
    from ladder_table import table

    cells = [cell("cvrl", "steps", 0, "1111"), cell("assisted", "steps", 0, "1110"), cell("v-moco", "time", 0, "1000")]
    write(tmp_path / "b", cells)
    timed = table(tmp_path / "b").split("## the time of 4 epochs of cvrl")[1]
    assert [line.split("|")[1].strip() for line in timed.splitlines() if line.startswith("|")][2:] == ["v-moco", "cvrl"]
    assert "+75.0" in timed


def test_equal_time_counts_what_comes_before_the_first_step(tmp_path: Path) -> None:
    from ladder import epochs_in_equal_time

    cells = [
        cell("cvrl", "steps", 0, "1111", **{"processor seconds": 100.0, "epochs": 10}),  # 10 s an epoch
        # half of it MoCo on frames: 50 s at once, then 5 s an epoch
        cell("cacl", "steps", 0, "1111", **{"processor seconds": 100.0, "epochs": 10, "share of frames": 0.5}),
    ]
    write(tmp_path, cells)
    assert epochs_in_equal_time(tmp_path, "cacl", 10) == (100 - 50) / 5
    assert epochs_in_equal_time(tmp_path, "cacl", 30) == (300 - 50) / 5
    assert epochs_in_equal_time(tmp_path, "cvrl", 10) == 10
    assert epochs_in_equal_time(tmp_path, "sdp", 10) is None  # its pace is not known yet


def test_the_kept_results_make_whole_tables() -> None:
    from ladder_table import table

    lines = [line for line in table(FOLDER / "ladder").splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert any("v-moco" in line for line in lines)


@pytest.mark.slow
def test_the_quick_ladder_trains_measures_and_skips_what_is_there(tmp_path: Path) -> None:
    command = [
        sys.executable,
        FOLDER / "ladder.py",
        "--quick",
        "--work",
        tmp_path / "work",
        "--results",
        tmp_path / "r",
    ]
    command += ["--recipes", "cvrl,v-moco,sdp", "--seeds", "0", "--epochs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    names = {path.name for path in (tmp_path / "r").glob("*.json")}
    assert names == {"videos.json", "cvrl-steps2-0.json", "v-moco-steps2-0.json", "sdp-steps2-0.json"} | {
        "v-moco-time2-0.json",
        "sdp-time2-0.json",
    }
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").glob("*-*.json")}
    again = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert again.stdout == done.stdout[done.stdout.index("## ") :]  # before the tables, what was made
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "r").glob("*-*.json")}
