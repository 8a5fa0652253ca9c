"""The ladder's arithmetic against hand-worked cells, and the whole of it in its quick form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


def test_an_interval_draws_source_videos_and_seeds() -> None:
    from ladder_table import interval

    first = [cell("a", "steps", 0, "1100"), cell("a", "steps", 1, "1100")]
    second = [cell("b", "steps", 0, "0001"), cell("b", "steps", 1, "0000")]
    text = interval(first, second, "own", "own", GROUPS)
    mean, _, rest = text.partition(" ")
    assert float(mean) == pytest.approx((2 - 1 + 2) / 8 * 100, abs=0.06)  # two seeds of four videos
    low, high = map(float, rest.strip("[]").split(","))
    assert low == pytest.approx(-100, abs=60)  # only g3, only seed 0, now and then
    assert high == pytest.approx(100, abs=15)  # only g1
    assert low < float(mean) < high
    assert interval(first, [cell("b", "steps", 7, "0000")], "own", "own", GROUPS) == ""


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
    assert again.stdout == done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "r").glob("*-*.json")}
