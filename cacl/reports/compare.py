"""Several runs side by side: the settings that differ, the same numbers in one table, the same curves in one chart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cacl.methods.curves import Curve
from cacl.reports.curves import Chart, chart, overlaid
from cacl.reports.page import KINDS, RunPage, Setting
from cacl.reports.recognition import recognition_view
from cacl.reports.tables import Cell, Row, TaskBars, mark_best, retrieval_table, task_bars, top

Cells = dict[str, Cell | None]
FIRST_CHARTS = 6  # the others can be opened
_MOST_WANTED = ("Loss", "accuracy", "Similarity of pairs, Gq, Gk", "Effective rank of features")  # in titles


@dataclass(frozen=True)
class Table:
    """Results of several runs.

    Attributes:
        title: what was measured.
        hint: what the numbers are.
        columns: their names.
        rows: references that all runs share, then the runs, the best of each column marked.
        bars_top: end of the axis of the bars of the first column.
        warning: why the numbers cannot be compared, or an empty text.
    """

    title: str
    hint: str
    columns: tuple[str, ...]
    rows: list[Row]
    bars_top: int
    warning: str = ""


@dataclass(frozen=True)
class Differing:
    """Settings that differ between runs of one kind.

    Attributes:
        kind: ``Pretraining`` or ``Fine-tuning``.
        runs: their numbers.
        rows: name of the setting, and of each run its value with its origin, None where it has no such setting.
        same: how many settings are the same.
    """

    kind: str
    runs: tuple[int, ...]
    rows: tuple[tuple[str, tuple[Setting | None, ...]], ...]
    same: int


@dataclass(frozen=True)
class Comparison:
    """What the page says about several runs; ``charts`` are of each kind the first and the others."""

    names: tuple[str, ...]
    facts: tuple[str, ...]
    tables: list[Table]
    differing: list[Differing]
    charts: list[tuple[str, list[Chart], list[Chart]]]


def compare(pages: Sequence[RunPage]) -> Comparison:
    """Lay two or more runs side by side."""
    names = distinct_names([page.title for page in pages])
    tables = [_retrieval(pages, names), _recognition(pages, names), *_tasks(pages, names), _probes(pages, names)]
    return Comparison(
        tuple(names),
        tuple(dict.fromkeys(fact for page in pages for fact in page.facts)),
        [table for table in tables if table is not None],
        differing_settings(pages),
        _charts(pages, names),
    )


def distinct_names(titles: Sequence[str]) -> list[str]:
    """The titles, numbered where two are the same."""
    again = Counter(titles)
    return [title if again[title] == 1 else f"{title} ({number})" for number, title in enumerate(titles, 1)]


def differing_settings(pages: Sequence[RunPage]) -> list[Differing]:
    """Of runs of the same kind, the settings whose values are not the same in all of them."""
    found = []
    for kind, name in KINDS.items():
        runs = tuple(i for i, page in enumerate(pages) if page.kind == kind and page.settings)
        if len(runs) < 2:
            continue
        values = [{setting.name: setting for setting in pages[i].settings} for i in runs]
        rows, same = [], 0
        for key in dict.fromkeys(key for own in values for key in own):
            each = tuple(own.get(key) for own in values)
            if len({None if setting is None else setting.value for setting in each}) > 1:
                rows.append((key, each))
            else:
                same += 1
        found.append(Differing(name, runs, tuple(rows), same))
    return found


def _retrieval(pages: Sequence[RunPage], names: Sequence[str]) -> Table | None:
    runs: dict[int, tuple[Cells, dict[str, Cells]]] = {}
    for number, page in enumerate(pages):
        spread = (page.results.get("standard deviation") or {}).get("retrieval") or {}
        rows, _ = retrieval_table(page.results.get("retrieval") or {}, spread)
        trained = [row for row in rows if row.trained]
        if trained:
            own = next((row for row in trained if row.name == page.main), trained[0])
            runs[number] = own.cells, {row.name: row.cells for row in rows if not row.trained}
    measured = {pages[number].measured for number in runs} - {""}
    warning = (
        "The runs were measured on different videos: their numbers cannot be compared." if len(measured) > 1 else ""
    )
    hint = "Share of test videos, in percent, with at least one of their class among the k nearest training videos."
    return _table("Retrieval", hint, runs, names, warning)


def _recognition(pages: Sequence[RunPage], names: Sequence[str]) -> Table | None:
    runs: dict[int, tuple[Cells, dict[str, Cells]]] = {}
    sizes = set()
    for number, page in enumerate(pages):
        found = recognition_view(page.results)
        if found is None:
            continue
        sizes.add((found.labels, tuple(page.results.get("classes") or [])))
        rows = {row.name: row.cells for row in reversed(found.rows)}
        guesses = rows.pop("chance", {})
        wanted = [(name, "top-1") for name in rows]
        if "fine-tuned" in rows and "top-5" in found.columns:
            wanted.insert(1, ("fine-tuned", "top-5"))
        cells = {f"{name} {key}": rows[name][key] for name, key in wanted}
        runs[number] = cells, {"chance": {f"{name} {key}": guesses.get(key) for name, key in wanted}}
    different = "The runs were measured with other classes or numbers of labels: their numbers cannot be compared."
    hint = "Share of test videos whose class is told, in percent: after fine-tuning, and with frozen features."
    return _table("Recognition", hint, runs, names, different if len(sizes) > 1 else "")


def _tasks(pages: Sequence[RunPage], names: Sequence[str]) -> list[Table | None]:
    """One table for each task that some run knows."""
    own = [{task.name: task for task in task_bars(page.results)} for page in pages]
    return [_task(name, [tasks.get(name) for tasks in own], names) for name in dict.fromkeys(n for o in own for n in o)]


def _task(name: str, tasks: Sequence[TaskBars | None], names: Sequence[str]) -> Table | None:
    runs: dict[int, tuple[Cells, dict[str, Cells]]] = {}
    sizes, title = set(), name
    for number, task in enumerate(tasks):
        trained = [] if task is None else [row for row in task.rows if row.name == "network"]
        if task is not None and trained:
            sizes.add(task.classes)
            title = task.title
            references = {row.name: _renamed(row.cells) for row in task.rows if not row.trained}
            runs[number] = _renamed(trained[0].cells), references
    different = "The runs have different numbers of classes in it: their numbers cannot be compared."
    hint = "How often its class is told exactly, in percent."
    return _table(title, hint, runs, names, different if len(sizes) > 1 else "")


def _renamed(cells: Cells) -> Cells:
    return {"told exactly": cells["accuracy"]}


def _probes(pages: Sequence[RunPage], names: Sequence[str]) -> Table | None:
    runs: dict[int, tuple[Cells, dict[str, Cells]]] = {}
    for number, page in enumerate(pages):
        cells: Cells = {}
        references: dict[str, Cells] = {}
        for probe in [] if page.analysis is None else page.analysis.probes:
            for row in probe.rows:
                if row.trained:
                    cells[probe.name] = row.cells["accuracy"]
                else:
                    references.setdefault(row.name, {})[probe.name] = row.cells["accuracy"]
        if cells:
            runs[number] = cells, references
    hint = "What a linear layer on frozen features tells of time, in percent of test clips ± standard error."
    return _table("Does it know time?", hint, runs, names, "")


def _table(
    title: str, hint: str, runs: Mapping[int, tuple[Cells, dict[str, Cells]]], names: Sequence[str], warning: str
) -> Table | None:
    """References that all runs share as rows; those that differ below each run's name."""
    if not runs:
        return None
    columns = tuple(dict.fromkeys(key for cells, _ in runs.values() for key in cells))
    every = [references for _, references in runs.values()]
    shared = [name for name in every[0] if all(_agree([own.get(name) for own in every], key) for key in columns)]
    rows = [
        Row(name, "", False, {key: next((c for own in every if (c := own[name].get(key))), None) for key in columns})
        for name in shared
    ]
    for number, (cells, references) in runs.items():
        others = [
            f"{name} {cell.value:.1f}"
            for name, own in references.items()
            if name not in shared and (cell := own.get(columns[0])) is not None
        ]
        rows.append(Row(names[number], ", ".join(others), True, {key: cells.get(key) for key in columns}, number))
    rows = [_unmarked(row) for row in rows]
    marked = mark_best(rows, columns, among=[row for row in rows if row.trained])
    return Table(title, hint, columns, marked, top(marked, columns[0]), warning)


def _agree(references: Sequence[Cells | None], key: str) -> bool:
    """Whether all runs have a reference, and those that have this number of it print the same."""
    printed = {round(cell.value, 1) for own in references if own is not None and (cell := own.get(key)) is not None}
    return None not in references and len(printed) <= 1


def _unmarked(row: Row) -> Row:
    """What was best in the run's own table need not be here."""
    return replace(row, cells={k: None if c is None else replace(c, best=False) for k, c in row.cells.items()})


def _charts(pages: Sequence[RunPage], names: Sequence[str]) -> list[tuple[str, list[Chart], list[Chart]]]:
    found = []
    for kind, title in KINDS.items():
        runs: dict[str, Any] = {}
        curves: dict[str, Sequence[Curve]] = {}
        for page, name in zip(pages, names, strict=True):
            if page.kind == kind and page.metrics:
                series, runs[name] = next(iter(page.metrics.items()))
                curves[name] = page.curves.get(series, ())
        if len(runs) < 2:
            continue
        numbers = {name: number for number, name in enumerate(names)}
        panels = overlaid(runs, curves, numbers=numbers)
        drawn = {panel.title: chart(panel) for panel in panels}
        first = [name for word in _MOST_WANTED for name in drawn if word.lower() in name.lower()][:FIRST_CHARTS]
        others = [one for name, one in drawn.items() if name not in first]
        found.append((title, [drawn[name] for name in first], others))
    return found
