"""The page of a reproduced table: ours beside the paper's numbers, a section for each data set, and Figure 3's map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cacl.files import write_whole
from cacl.reports.heatmap import attention_svg
from cacl.reports.tables import Cell, Row, number, top
from cacl.reports.write import template


@dataclass(frozen=True)
class Line:
    """One row of the paper on one data set, or something that was not learned.

    Attributes:
        name: as in the paper.
        meaning: its facts, in words.
        paper, ours: column -> number; empty where there is none.
        reference: nothing was learned for it.
    """

    name: str
    meaning: str
    paper: dict[str, Cell | None]
    ours: dict[str, Cell | None]
    reference: bool


@dataclass(frozen=True)
class SetView:
    """One data set: the lines of its table, and the bars of the first column with the end of their axis."""

    name: str
    lines: list[Line]
    bars: list[Row]
    top: float


def write_paper_page(path: Path, results: Mapping[str, Any], *, command: str = "") -> None:
    """Write the page.

    Args:
        path: of the HTML file; its folder exists.
        results: as of :mod:`cacl.experiments.reproduce.results`.
        command: that made it.
    """
    heat = None
    if "attention" in results:
        heat = attention_svg(np.array(results["attention"], np.float64), results["tokens"])
    views = [_set_view(results, name) for name in results["sets"]]
    write_whole(
        path,
        template("paper.html").render(
            title=results["title"],
            results=results,
            common=common_facts(results),
            sets=views,
            heat=heat,
            command=command,
        ),
    )


def _set_view(results: Mapping[str, Any], on: str) -> SetView:
    lines = [_line(results, row, on, reference=False) for row in results["rows"] if on in row["paper"]]
    lines += [_line(results, row, on, reference=True) for row in results["references"] if on in row["ours"]]
    first = results["columns"][0]
    bars: list[Row] = []
    for line in lines:
        if not line.ours:
            continue
        name = f"{line.name}{f' ({line.meaning})' if line.meaning else ''}"
        for whose, cells in (("paper", line.paper), ("ours", line.ours)):
            if cells.get(first) is not None:
                full = name if line.reference else f"{name}, {whose}"
                bars.append(Row(full, "", whose == "ours" and not line.reference, {first: cells[first]}))
    end: float = top(bars, first)
    if results["digits"] != 1:  # no percent
        values = [cell.value + (cell.spread or 0.0) for bar in bars if (cell := bar.cells[first]) is not None]
        end = math.ceil(10 * max(values, default=1.0)) / 10
    return SetView(on, lines, bars, end)


def _line(results: Mapping[str, Any], row: Mapping[str, Any], on: str, *, reference: bool) -> Line:
    columns: Sequence[str] = results["columns"]
    same = common_facts(results)
    paper, ours, spread = (row.get(kind, {}).get(on, {}) for kind in ("paper", "ours", "sd"))
    return Line(
        row["name"],
        ", ".join(_fact(name, value) for name, value in row["facts"].items() if value and name not in same)
        + (f" (ours on {row['ours_on']})" if row.get("elsewhere") else ""),
        {k: _cell(paper, {}, k) for k in columns} if paper else {},
        {k: _cell(ours, spread, k) for k in columns} if ours else {},
        reference,
    )


def common_facts(results: Mapping[str, Any]) -> dict[str, str]:
    """What all rows of the paper say of themselves alike: it is said once."""
    values = {name: {row["facts"].get(name, "") for row in results["rows"]} for name in results["facts"]}
    return {name: found.pop() for name, found in values.items() if len(found) == 1}


def _fact(name: str, value: str) -> str:
    words = {"pretrained": f"pretrained on {value}", "depth": f"{value} layers"}
    return words.get(name, value)


def _cell(row: Mapping[str, Any], spread: Mapping[str, Any], key: str) -> Cell | None:
    value = number(row, key)
    return None if value is None else Cell(value, number(spread, key))
