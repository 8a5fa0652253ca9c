"""The page of a reproduced table: what stands where, and that nothing of others' methods is made up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from cacl.reports.paper import common_facts, write_paper_page

EVIL = "<script>alert('x')</script>"


def results(**changes: Any) -> dict[str, Any]:
    own = {"UCF101": {"R@1": 12.5, "R@5": 33.25}}
    rows = [
        {"name": "Rival", "facts": {"net": "C3D"}, "paper": {"UCF101": {"R@1": 23.2, "R@5": 38.1}},
         "ours": {}, "sd": {}},
        {
            "name": "CACL",
            "facts": {"net": "C3D"},
            "paper": {"UCF101": {"R@1": 43.2, "R@5": 61.1}, "HMDB51": {"R@1": 17.3}},
            "ours": own,
            "sd": {"UCF101": {"R@1": 1.06}},
        },
    ]  # fmt: skip
    found: dict[str, Any] = {
        "table": "table4",
        "title": "Table 4: retrieval",
        "evaluation": "retrieval",
        "words": "",
        "scale": "paper",
        "seeds": [0, 1],
        "sets": ["UCF101", "HMDB51"],
        "columns": ["R@1", "R@5"],
        "digits": 1,
        "facts": ["net"],
        "rows": rows,
        "references": [{"name": "chance", "facts": {}, "paper": {}, "ours": {"UCF101": {"R@1": 1.0}}, "sd": {}}],
        "notes": [EVIL, "second note"],
    }
    return {**found, **changes}


def lines(text: str, name: str) -> list[str]:
    """The cells of a row of the first table, without markup, blanks made one."""
    body = next(part for part in text.split("<tbody")[1:] if f">{name}<" in part.split("</tbody>")[0])
    cells = re.findall(r"<td[^>]*>(.*?)</td>", body.split("</tbody>")[0], flags=re.S)
    return [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in cells]


@pytest.fixture
def page(tmp_path: Path) -> str:
    write_paper_page(tmp_path / "page.html", results(), command=f"cacl {EVIL}")
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_ours_stands_below_the_papers_numbers(page: str) -> None:
    assert lines(page, "CACL") == ["CACL", "paper", "43.2", "61.1", "ours", "12.5 ± 1.1", "33.2"]


def test_a_rival_has_the_papers_numbers_alone(page: str) -> None:
    assert lines(page, "Rival") == ["Rival", "paper", "23.2", "38.1"]
    assert "Rival, ours" not in page


def test_what_was_not_learned_is_ours_alone(page: str) -> None:
    assert lines(page, "chance") == ["chance", "ours", "1.0", "–"]


def test_each_data_set_has_a_section(page: str) -> None:
    assert page.count('class="beside-paper"') == 2
    last = page.split('id="hmdb51"')[1]
    assert lines(last, "CACL") == ["CACL", "paper", "17.3", "–"]


def test_names_are_escaped_and_notes_are_there(page: str) -> None:
    assert EVIL not in page
    assert page.count("&lt;script&gt;") == 2
    assert "second note" in page
    assert "standard deviation over 2 seeds" in " ".join(page.split())


def test_scale_tiny_says_what_it_is(tmp_path: Path) -> None:
    write_paper_page(tmp_path / "tiny.html", results(scale="tiny", notes=["stands in", "other"]))
    text = (tmp_path / "tiny.html").read_text(encoding="utf-8")
    assert "A test, no reproduction" in text
    assert text.count("stands in") == 1
    assert text.count("generated videos in its place") == 2


def test_cosines_have_four_digits(tmp_path: Path) -> None:
    write_paper_page(tmp_path / "page.html", results(digits=4))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert lines(text, "CACL")[2:4] == ["43.2000", "61.1000"]


def test_figure_3_is_a_map(tmp_path: Path) -> None:
    weights = [[0.5, 0.25, 0.25]] * 3
    write_paper_page(
        tmp_path / "page.html", results(attention=weights, tokens=["CLS", "clip 1", "clip 2"], words="The paper says")
    )
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "CLS looks at CLS: 1.50 times" in text
    assert "The paper says" in text


def test_facts_that_all_rows_share_are_told_once() -> None:
    assert common_facts(results()) == {"net": "C3D"}
    other = results()
    other["rows"][0]["facts"] = {"net": "R3D"}
    assert common_facts(other) == {}


def test_a_published_number_of_other_videos_than_ours_says_so(tmp_path: Path) -> None:
    other = results(facts=["net", "pretrained"])
    other["rows"][1] |= {"facts": {"net": "C3D", "pretrained": "Kinetics-400"}, "ours_on": "UCF101", "elsewhere": True}
    write_paper_page(tmp_path / "page.html", other)
    told = lines((tmp_path / "page.html").read_text(encoding="utf-8"), "CACL")[0]
    assert told == "CACL pretrained on Kinetics-400 (ours on UCF101)"
