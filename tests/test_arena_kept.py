"""The arena's results that are kept: the page of the docs shows them, and their numbers are those of the hits."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT

KEPT = ROOT / "benchmarks" / "arena"


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def cells() -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(KEPT.glob("cells/*/results.json"))]


def test_the_page_of_the_docs_has_the_tables_that_the_command_prints() -> None:
    from arena import text_of

    page = (ROOT / "docs" / "arena.md").read_text(encoding="utf-8")
    assert not [line for line in text_of(KEPT).splitlines() if line not in page], "run: python benchmarks/arena.py"


def test_every_share_is_the_mean_of_the_hits() -> None:
    from arena import text_of

    text = text_of(KEPT)
    for method in {cell["method"] for cell in cells()}:
        hits = [cell["hits"]["R@1"] for cell in sorted(cells(), key=lambda c: c["seed"]) if cell["method"] == method]
        by_seed = [100 * one.count("1") / len(one) for one in hits]
        mean = sum(by_seed) / len(by_seed)
        row = re.search(rf"^\| `{re.escape(method)}` \| ([\d.]+) \| [^|]*\| ([\d. ]+) \|", text, re.MULTILINE)
        assert row is not None
        assert float(row[1]) == pytest.approx(mean, abs=0.051)
        assert [float(value) for value in row[2].split()] == pytest.approx(by_seed, abs=0.051)


def test_all_cells_have_spent_the_same_on_the_same_videos() -> None:
    assert len({cell["passes"] for cell in cells()}) == 1
    assert {len(cell["hits"]["R@1"]) for cell in cells()} == {
        len(json.loads((KEPT / "queries.json").read_text())["path"])
    }
    assert not Path(json.loads((KEPT / "plan.json").read_text())["videos"]).is_absolute()


def test_what_is_collected_makes_the_page(tmp_path: Path) -> None:
    from arena import COMMAND, collect, plan_of, summary, text_of, write_comparison

    collect(KEPT, tmp_path / "copy")
    assert text_of(tmp_path / "copy") == text_of(KEPT)
    page = write_comparison(tmp_path, summary(plan_of(KEPT)), command=COMMAND, pictures={})
    assert "beat" in page.read_text(encoding="utf-8")
