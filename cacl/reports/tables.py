"""Tables and bars of the report: which numbers stand in which row, how they spread, and which of a column is the best.

Two numbers that are equal as printed are equally good: both are marked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cacl.evaluation.results import REFERENCES, tasks_of

_MEANING = {
    "chance": "a random ranking",
    "colour histogram": "which colours a video has",
    "thumbnail": "where it is light and dark",
    "untrained": "the same network at its first step",
    "untrained, batch statistics": "with BatchNorm statistics of training clips",
    "frozen": "an image network of others, frame by frame",
    "fused": "the run's encoder beside the frozen one",
}


@dataclass(frozen=True)
class Cell:
    """A number with its spread, if any; ``best`` of its column."""

    value: float
    spread: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Row:
    """A row of a table or a bar of a chart.

    Attributes:
        name: what it is called.
        meaning: a few words below it.
        trained: whether something was learned for it; other rows are references.
        cells: column -> number, or None where there is none.
        colour: of the run in a comparison, from 0.
    """

    name: str
    meaning: str
    trained: bool
    cells: dict[str, Cell | None]
    colour: int | None = None


def number(row: Any, key: str) -> float | None:
    """A finite number of a dictionary, else None."""
    value = row.get(key) if isinstance(row, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def mark_best(rows: Sequence[Row], columns: Iterable[str], *, among: Sequence[Row] | None = None) -> list[Row]:
    """The same rows, the largest number of each column marked, and every other that is printed the same.

    Args:
        rows: with the columns.
        columns: those to look at.
        among: rows that can be best, by default all.
    """
    rivals = {id(row) for row in (rows if among is None else among)}
    best = {}
    for key in columns:
        values = [cell.value for row in rows if id(row) in rivals and (cell := row.cells.get(key)) is not None]
        best[key] = round(max(values), 1) if values else math.inf
    marked = []
    for row in rows:
        cells = {
            key: None
            if cell is None
            else Cell(cell.value, cell.spread, id(row) in rivals and round(cell.value, 1) >= best.get(key, math.inf))
            for key, cell in row.cells.items()
        }
        marked.append(Row(row.name, row.meaning, row.trained, cells, row.colour))
    return marked


def retrieval_table(retrieval: Mapping[str, Any], spread: Mapping[str, Any]) -> tuple[list[Row], list[str]]:
    """Rows in the order references, then trained runs, and the names of the columns; chance is never the best."""
    ks = list(dict.fromkeys(k for row in retrieval.values() for k in row))
    names = [name for name in REFERENCES if name in retrieval]
    names += [name for name in retrieval if name not in REFERENCES]
    rows = []
    for name in names:
        cells = {k: _cell(retrieval[name], spread.get(name, {}), k) for k in ks}
        rows.append(Row(name, _MEANING.get(name, ""), name not in REFERENCES, cells))
    return mark_best(rows, ks, among=[row for row in rows if row.name != "chance"]), ks


@dataclass(frozen=True)
class TaskBars:
    """How well a temporal task is predicted.

    Attributes:
        name: of the task, the key of its results.
        title: for readers.
        classes: how many there are.
        rows: chance, frame differences, then the network (``accuracy``) and others (``… accuracy``).
        tested_on: on which clips.
        top: end of the bars' axis.
    """

    name: str
    title: str
    classes: int
    rows: Sequence[Row]
    tested_on: str
    top: int


def task_bars(results: Mapping[str, Any]) -> list[TaskBars]:
    """Of every task among the results."""
    spread = results.get("standard deviation") or {}
    return [_bars(name, task, spread.get(name) or {}) for name, task in tasks_of(results).items()]


def _bars(name: str, task: Mapping[str, Any], spread: Mapping[str, Any]) -> TaskBars:
    shown = {"chance": "chance", "frame-difference baseline": "frame differences", "accuracy": "network"}
    keys = [key for key in shown if key in task]
    keys += [key for key in task if key not in shown and key.endswith(" accuracy")]
    classes, where = round(100 / task.get("chance", 100)), str(task.get("tested on", "unseen videos"))
    meaning = {"chance": f"one of {classes}", "frame-difference baseline": "a small classifier"}
    rows = []
    for key in keys:
        cell = _cell(task, spread, key)
        if cell is not None:
            rows.append(Row(shown.get(key, key), meaning.get(key, where), key not in meaning, {"accuracy": cell}))
    return TaskBars(name, str(task["title"]), classes, rows, where, top(rows, "accuracy"))


def highlights(
    table: Sequence[Row], ks: Sequence[str], tasks: Sequence[TaskBars], recognition: Sequence[Row], main: str
) -> list[tuple[str, str, str]]:
    """(name, number, comparison) of what a reader wants to know first.

    Args:
        table: of retrieval, with the columns ``ks``.
        tasks: of the method.
        recognition: rows of it, the main one last.
        main: the row of ``table`` that the heading is about.
    """
    found = []
    trained = [row for row in table if row.trained]
    if trained and ks and (cell := _headline(trained, main).cells.get(ks[0])) is not None:
        others = [(c.value, row.name) for row in table if not row.trained and (c := row.cells.get(ks[0])) is not None]
        note = ""
        if others:
            value, name = max(others)
            sign = "+" if cell.value >= value else "\N{MINUS SIGN}"
            note = f"{sign}{abs(cell.value - value):.1f} points to the best without training ({name}, {value:.1f} %)"
        found.append((f"{ks[0]}, {_headline(trained, main).name}", f"{cell.value:.1f} %", note))
    if recognition and (cell := recognition[-1].cells["top-1"]) is not None:
        below = [f"{row.name} {c.value:.1f} %" for row in recognition[:-1] if (c := row.cells["top-1"])]
        found.append((f"top-1, {recognition[-1].name}", f"{cell.value:.1f} %", ", ".join(below)))
    for task in tasks:
        networks = [row for row in task.rows if row.trained]
        if networks and (cell := networks[0].cells["accuracy"]) is not None:
            plain = [row for row in task.rows if not row.trained]
            below = [f"{row.name} {c.value:.1f} %" for row in plain if (c := row.cells["accuracy"])]
            found.append((f"{task.title.lower()}", f"{cell.value:.1f} %", ", ".join(below)))
    return found


def top(rows: Sequence[Row], key: str) -> int:
    """End of the bars' axis: the largest value with its spread, rounded up to a multiple of ten, at most 100."""
    ends = [cell.value + (cell.spread or 0.0) for row in rows if (cell := row.cells[key]) is not None]
    return min(100, 10 * math.ceil(max(ends, default=100.0) / 10) or 10)


def _headline(trained: Sequence[Row], main: str) -> Row:
    return next((row for row in trained if row.name == main), trained[0])


def _cell(row: Any, spread: Any, key: str) -> Cell | None:
    value = number(row, key)
    return None if value is None else Cell(value, number(spread, key))
