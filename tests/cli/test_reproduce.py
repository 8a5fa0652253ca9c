"""``cacl reproduce`` as it is typed: what it asks before it costs, what it prints, what it refuses."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cacl.cli.reproduce import show_table
from cacl.experiments.reproduce import cost as reproduce_cost
from cacl.experiments.reproduce import reproduce as module
from cacl.experiments.reproduce.cost import Cost, Item
from cacl.experiments.reproduce.paper_tables import paper_table
from cacl.experiments.reproduce.results import table_csv, table_results
from cacl.training.stop import Stopped


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Enough of UCF101 to be found."""
    (tmp_path / "data" / "UCF-101").mkdir(parents=True)
    (tmp_path / "data" / "UCF-101" / "trainlist01.txt").write_text("A/v_A_g08_c01.avi 1\n")
    return tmp_path / "data"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Nothing is trained: what was to be."""
    begun: list[dict[str, Any]] = []
    table = paper_table("table1")

    def make(key: str, **keywords: Any) -> dict[str, Any]:
        begun.append(keywords)
        one = {"numbers": dict.fromkeys(table.columns, 10.0 + keywords["seeds"]), "references": {}, "notes": []}
        found = {(7, "UCF101"): {0: one, 1: {**one, "numbers": dict.fromkeys(table.columns, 13.0)}}}
        return table_results(table, found, {}, scale="tiny", seeds=[0, 1], notes=["a note"])

    monkeypatch.setattr(module, "reproduce", make)
    item = Item("cacl, c3d, UCF101", 6, 44_700, 0.5, 64, 64)
    monkeypatch.setattr(reproduce_cost, "estimate", lambda *parts, **keywords: Cost("GPU Y", True, (item,)))
    return begun


def test_the_table_is_printed_beside_the_papers(cacl: Callable[..., Any], asked: list[dict[str, Any]]) -> None:
    ended = cacl("reproduce", "table1", "--seeds", 1, "--out", "here")
    assert ended.status == 0, ended.err
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in ended.out.splitlines() if "│" in line]
    place = rows.index(["SDP+V-MoCo+T, C3D", "paper", "43.2", "61.1", "69.9", "78.2", "88.2"])
    assert rows[place + 1] == ["", "ours", *["12.0 ± 1.4"] * 5]  # 11 and 13
    assert ["VCOP, C3D", "paper", "12.5", "29.0", "39.0", "50.6", "66.9"] in rows
    assert sum(row[1] == "ours" for row in rows) == 1
    assert "Note: a note" in ended.out
    assert ended.out.splitlines()[-1] == "Page: here/table1.html  Numbers: here/table1.csv"
    printed = json.loads(cacl("reproduce", "table1", "--json").out)
    assert printed["rows"][7]["ours"]["UCF101"]["R@1"] == 12.0


def test_a_published_number_of_other_videos_than_ours_is_printed_with_both(capsys: pytest.CaptureFixture[str]) -> None:
    table = paper_table("table4")
    number = next(i for i, row in enumerate(table.rows) if row.name == "RSPNet")
    one = {"numbers": dict.fromkeys(table.columns, 20.0), "references": {}, "notes": []}
    found = {(number, "UCF101"): {0: one}}
    results = table_results(table, found, {}, scale="paper", seeds=[0], notes=[])
    show_table(results)
    out = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in out.splitlines() if "│" in line]
    place = rows.index(["RSPNet, C3D, Kinetics-400", "paper"])
    assert rows[place + 1] == ["ours on UCF101", "ours"]
    assert sum("ours on" in row[0] for row in rows) == 1
    assert [line for line in out.splitlines() if "Note" in line] == [
        "Note: RSPNet, C3D: the published number was pretrained on Kinetics-400, ours and the rows beside it on "
        "UCF101; the two say nothing of each other."
    ]
    (line,) = [
        line for line in csv.DictReader(io.StringIO(table_csv(results))) if line["ours"] and line["measure"] == "R@1"
    ]
    assert [line[name] for name in ("pretrained", "ours pretrained", "paper", "ours")] == [
        "Kinetics-400", "UCF101", "36", "20",
    ]  # fmt: skip


def test_without_a_terminal_the_cost_is_told_and_nothing_begun(
    cacl: Callable[..., Any], asked: list[dict[str, Any]], data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    ended = cacl("reproduce", "table1", "--scale", "paper", "--data", data)
    assert ended.status == 0, ended.err
    assert "44 700" in ended.out
    assert "6 trainings are missing: about 37 GPU hours on GPU Y" in ended.out  # 6 * 44 700 * 0.5 s
    assert ended.out.splitlines()[-1] == "Nothing was begun; add --yes to begin."
    assert asked == []
    assert not Path("runs").exists()


@pytest.mark.parametrize(("answer", "begins"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_on_a_terminal_it_asks(
    answer: str,
    begins: bool,
    cacl: Callable[..., Any],
    asked: list[dict[str, Any]],
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    ended = cacl("reproduce", "table1", "--scale", "paper", "--data", data)
    assert ended.status == 0, ended.err
    assert "Begin?" in ended.out
    assert bool(asked) == begins


def test_yes_begins(cacl: Callable[..., Any], asked: list[dict[str, Any]], data: Path) -> None:
    ended = cacl("reproduce", "table1", "--scale", "paper", "--data", data, "--seeds", 3, "--yes", "--out", "o")
    assert ended.status == 0, ended.err
    assert "about 37 GPU hours" in ended.out
    assert asked == [{"data": data, "scale": "paper", "seeds": 3, "out": Path("o")}]


@pytest.mark.parametrize(("stop", "code"), [(Stopped(143, Path("run")), 143), (KeyboardInterrupt(), 130)])
def test_stopped_it_says_how_to_go_on(
    stop: BaseException, code: int, cacl: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a training, and in whatever is done between two."""

    def stops(*parts: Any, **keywords: Any) -> None:
        raise stop

    monkeypatch.setattr(module, "reproduce", stops)
    ended = cacl("reproduce", "table1")
    assert ended.status == code
    assert ended.err == "Stopped; what is done is kept. Go on: give the same command again.\n"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["tabel1"], ["tabel1 is no table of the paper", "Did you mean 'table1'?"]),
        (["table1", "--scale", "small"], ["--scale is small; it can be tiny or paper"]),
        (["table1", "--seeds", "0"], ["--seeds is 0"]),
        (["table4", "--scale", "paper"], ["--scale paper needs --data", "HMDB51", "Kinetics-400"]),
        (["table1", "--scale", "paper", "--data", "nowhere"], ["--data is nowhere, which is no folder"]),
        (["table4", "--scale", "paper", "--data", "DATA"], ["lacks", "Kinetics-400", "HMDB51", "it has UCF-101"]),
        (["table1", "--out", "DATA"], ["holds something that cacl reproduce did not make"]),
    ],
)
def test_bad_input(words: list[str], parts: list[str], cacl: Callable[..., Any], data: Path) -> None:
    cacl("reproduce", *[data if word == "DATA" else word for word in words]).refused(*parts)
    assert list(Path().iterdir()) == []
