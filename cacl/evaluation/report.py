"""``report.html``: what was trained, on what, and how good it is, as one file to send to a colleague.

Everything is inside the file (pictures as data, charts as SVG, no script, no network), every name is escaped, and the
same numbers go into ``results.json`` beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cacl.data.catalog import Skipped
from cacl.evaluation.chart import draw_panel
from cacl.evaluation.curves import panels
from cacl.evaluation.results import REFERENCES, write_results, write_whole
from cacl.evaluation.samples import Sample
from cacl.evaluation.tiles import Tile, TileRow, jpeg_uri

if TYPE_CHECKING:
    from jinja2 import Template

_MEANING = {
    "chance": "a random ranking",
    "colour histogram": "which colours a video has",
    "thumbnail": "where it is light and dark",
    "untrained": "the same network at its first step",
    "untrained, batch statistics": "with BatchNorm statistics of training clips",
}


@dataclass(frozen=True)
class Setting:
    """One setting as the run had it: name, value, and where the value came from (preset, file, flag, auto)."""

    name: str
    value: str
    origin: str = ""


@dataclass(frozen=True)
class _Cell:
    value: float
    spread: float | None
    best: bool = False


@dataclass(frozen=True)
class _Row:
    name: str
    meaning: str
    trained: bool
    cells: dict[str, _Cell | None]


def write_report(
    path: Path,
    results: Mapping[str, Any],
    *,
    title: str,
    lead: str = "",
    facts: Mapping[str, str] | None = None,
    warnings: Sequence[str] = (),
    metrics: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    neighbours: Sequence[TileRow] = (),
    samples: Sequence[Sample] = (),
    first_batch: NDArray[np.uint8] | None = None,
    settings: Sequence[Setting] = (),
    data: str = "",
    skipped: Sequence[Skipped] = (),
    command: str = "",
    main: str = "cacl",
    degrees: int = 16,
) -> None:
    """Write the page to ``path`` and the numbers to ``results.json`` in the same folder.

    Args:
        path: of the HTML file; its folder exists.
        results: numbers in percent as in :mod:`cacl.evaluation.results`, of one seed or of several merged by
            ``merge_seeds``. Parts that are missing are left out of the page.
        title: the heading, e.g. the run's name.
        lead: one or two sentences below it: what was run.
        facts: short name -> short value for the heading, e.g. ``{"videos": "843", "device": "CPU"}``.
        warnings: sentences from :func:`cacl.evaluation.health.warnings_from`.
        metrics: run name -> rows of its ``metrics.jsonl``; the first is shown, the others can be opened.
        neighbours: from :func:`cacl.evaluation.neighbours.neighbour_rows`.
        samples: from :func:`cacl.evaluation.samples.samples_from`.
        first_batch: the same as one picture, uint8 ``[H, W, 3]``.
        settings: resolved settings.
        data: which videos were used, in a sentence (``Catalog.summary``).
        skipped: which were not, with the reason.
        command: the command that made this.
        main: the row of the retrieval table that the heading is about.
        degrees: how many shuffle degrees there are to choose from.
    """
    spread = results.get("standard deviation", {})
    table, ks = _retrieval_table(results.get("retrieval", {}), spread.get("retrieval", {}))
    degree = _degree_bars(results.get("degree", {}), spread.get("degree", {}), degrees)
    drawn = {name: panels(rows, degrees=degrees) for name, rows in (metrics or {}).items()}
    html = _template().render(
        title=title,
        lead=lead,
        highlights=_highlights(table, ks, degree, main),
        facts=facts or {},
        warnings=warnings,
        table=table,
        table_top=_top(table, ks[0]) if ks else 100,
        ks=ks,
        degree=degree,
        degree_top=_top(degree, "accuracy"),
        seeds=len(results.get("seeds", {})),
        degrees=degrees,
        tested_on=_tested_on(results.get("degree", {})),
        runs={name: [draw_panel(panel) for panel in charts] for name, charts in drawn.items() if charts},
        neighbours=[_tile_row(row) for row in neighbours],
        samples=[(sample.title, [(name, jpeg_uri(strip)) for name, strip in sample.strips]) for sample in samples],
        first_batch=None if first_batch is None else jpeg_uri(first_batch),
        settings=settings,
        data=data,
        skipped=skipped,
        command=command,
    )
    write_whole(path, html)
    write_results(path.with_name("results.json"), results)


def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(files("cacl.evaluation").joinpath("report.html").read_text(encoding="utf-8"))


def _retrieval_table(
    retrieval: Mapping[str, Mapping[str, float]], spread: Mapping[str, Mapping[str, float]]
) -> tuple[list[_Row], list[str]]:
    """Rows in the order references, then trained runs; the best number of each column marked."""
    ks = list(dict.fromkeys(k for row in retrieval.values() for k in row))
    rivals = [row for name, row in retrieval.items() if name != "chance"]
    best = {k: max((_value(row, k) or 0.0 for row in rivals), default=0.0) for k in ks}
    names = [name for name in REFERENCES if name in retrieval]
    names += [name for name in retrieval if name not in REFERENCES]
    rows = []
    for name in names:
        cells: dict[str, _Cell | None] = {}
        for k in ks:
            value = _value(retrieval[name], k)
            # Equal as printed is equally good.
            marked = value is not None and name != "chance" and round(value, 1) >= round(best[k], 1)
            cells[k] = None if value is None else _Cell(value, _value(spread.get(name, {}), k), marked)
        rows.append(_Row(name, _MEANING.get(name, ""), name not in REFERENCES, cells))
    return rows, ks


def _degree_bars(degree: Mapping[str, Any], spread: Mapping[str, float], degrees: int) -> list[_Row]:
    """Chance, frame differences, then the network (``accuracy``) and others (``… accuracy``)."""
    shown = {"chance": "chance", "frame-difference baseline": "frame differences", "accuracy": "network"}
    names = [name for name in shown if name in degree]
    names += [name for name in degree if name not in shown and name.endswith(" accuracy")]
    meaning = {"chance": f"one of {degrees} degrees", "frame-difference baseline": "a small classifier"}
    rows = []
    for name in names:
        value = _value(degree, name)
        if value is not None:
            cell = _Cell(value, _value(spread, name))
            trained = name not in ("chance", "frame-difference baseline")
            rows.append(_Row(shown.get(name, name), meaning.get(name, _tested_on(degree)), trained, {"accuracy": cell}))
    return rows


def _tested_on(degree: Mapping[str, Any]) -> str:
    return str(degree.get("tested on", "unseen videos"))


def _highlights(
    table: Sequence[_Row], ks: Sequence[str], degree: Sequence[_Row], main: str
) -> list[tuple[str, str, str]]:
    """(name, number, comparison) of what a reader wants to know first."""
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
    networks = [row for row in degree if row.trained]
    if networks and (cell := networks[0].cells["accuracy"]) is not None:
        below = [f"{row.name} {c.value:.1f} %" for row in degree if not row.trained and (c := row.cells["accuracy"])]
        found.append(("shuffle degree told", f"{cell.value:.1f} %", ", ".join(below)))
    return found


def _top(rows: Sequence[_Row], key: str) -> int:
    """End of the bars' axis: the largest value with its spread, rounded up to a multiple of ten, at most 100."""
    ends = [cell.value + (cell.spread or 0.0) for row in rows if (cell := row.cells[key]) is not None]
    return min(100, 10 * math.ceil(max(ends, default=100.0) / 10) or 10)


def _headline(trained: Sequence[_Row], main: str) -> _Row:
    return next((row for row in trained if row.name == main), trained[0])


def _value(row: Mapping[str, float], key: str) -> float | None:
    value = row.get(key)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _tile_row(row: TileRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "lead": None if row.lead is None else _tile(row.lead),
        "tiles": [_tile(tile) for tile in row.tiles],
    }


def _tile(tile: Tile) -> dict[str, Any]:
    height, width = tile.image.shape[:2]
    return {"tile": tile, "uri": jpeg_uri(tile.image), "width": width, "height": height}
