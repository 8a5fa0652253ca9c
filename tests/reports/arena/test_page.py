"""The page of a comparison, its first line, and the table as text."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from experiments.compare.made_up import write_cells

from cacl.experiments.compare.summary import summary
from cacl.reports.arena.export import pairs_csv, table_csv, table_latex
from cacl.reports.arena.figures import pareto
from cacl.reports.arena.page import write_comparison
from cacl.reports.arena.words import first_line


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    levels = {"cacl": 0.0, "cvrl": 0.9, "vcop": -0.9, "a<b>_&%": 0.02}
    return summary(write_cells(tmp_path_factory.mktemp("cells"), levels))


def test_one_file_without_script_that_says_first_who_beats_cacl(tmp_path: Path, results: dict[str, Any]) -> None:
    page = write_comparison(tmp_path, results, command="cacl compare x").read_text()
    body = page[page.index("<body>") :]
    first = body.index("CACL is beaten at equal passes (60 000): cvrl by")
    assert first < body.index("<h1")
    assert "<script" not in page
    assert "://" not in page
    assert "a<b>" not in page
    assert "a&lt;b&gt;_&amp;%" in page
    assert page.count("<svg") >= 7  # ranking, three of pairs, three of cost, classes
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html",
        "comparison.csv",
        "pairs.csv",
        "comparison.tex",
    }


def test_the_first_line() -> None:
    def told(mean: float, *, different: bool, first: str = "vcop") -> str:
        second = "cacl" if first == "vcop" else "vcop"
        pair = {"first": first, "second": second, "mean": mean, "low": mean - 2, "high": mean + 2}
        pair |= {"different": False, "different from ours": different}
        return first_line({"order": [first, second], "pairs": {"R@1": [pair]}}, "steps=500")

    assert told(3.0, different=True) == (
        "CACL is beaten at equal steps (500): vcop by 3.0 points (95 % interval +1.0 to +5.0)."
    )
    assert told(3.0, different=False) == (
        "No rival beats CACL at equal steps (500); ahead, but not separable from it after correction: vcop +3.0 points "
        "(95 % interval +1.0 to +5.0); nor is it shown to beat any."
    )
    assert told(3.0, different=True, first="cacl") == "No rival beats CACL at equal steps (500); it beats vcop."
    assert first_line({"order": ["vcop"], "pairs": {"R@1": []}}, "steps=500") == "One method only is there yet: vcop."


def test_the_table_as_csv(results: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(table_csv(results))))
    methods = [row["method"] for row in rows]
    assert methods == [*results["networks"]["r3d10"]["order"], "chance", "colour histogram", "thumbnail", "untrained"]
    own = results["networks"]["r3d10"]["rows"]["cacl"]
    (row,) = [row for row in rows if row["method"] == "cacl"]
    assert float(row["R@1"]) == own["measures"]["R@1"]["mean"]
    assert float(row["k-NN high"]) == own["measures"]["k-NN"]["high"]
    assert float(row["published R@1"]) == 41.1
    pairs = list(csv.DictReader(io.StringIO(pairs_csv(results))))
    assert len(pairs) == 3 * 6


def test_the_table_as_latex(results: dict[str, Any]) -> None:
    text = table_latex(results)
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 1 + 4 + 4
    assert {len(re.findall(r"(?<!\\)&", row)) for row in rows} == {8}
    assert r"a<b>\_\&\%" in text


def test_the_front_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        points = [(float(x), float(y)) for x, y in rng.integers(0, 6, (8, 2))]
        beaten = [any((x <= a and y > b) or (x < a and y >= b) for x, y in points) for a, b in points]
        expected = {point for point, is_beaten in zip(points, beaten, strict=True) if not is_beaten}
        assert set(pareto(points)) == expected
