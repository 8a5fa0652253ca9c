"""``report.html`` of a comparison: who is better, how sure that is, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cacl.files import write_whole
from cacl.reports.arena.export import pairs_csv, table_csv, table_latex
from cacl.reports.arena.figures import Track, classes_svg, pairs_svg, ranking_svg, tracks_svg
from cacl.reports.arena.words import MAIN, first_line
from cacl.reports.previews import rows_from_json
from cacl.reports.write import template


def write_comparison(
    folder: Path,
    results: Mapping[str, Any],
    *,
    command: str,
    pictures: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> Path:
    """Write ``report.html``, ``comparison.csv``, ``pairs.csv`` and ``comparison.tex``; the page's path.

    Args:
        folder: exists.
        results: as in ``comparison.json``.
        command: that made it.
        pictures: network -> some queries, with what is nearest under every method, see ``neighbours.json``.
    """
    write_whole(folder / "comparison.csv", table_csv(results))
    write_whole(folder / "pairs.csv", pairs_csv(results))
    write_whole(folder / "comparison.tex", table_latex(results))
    views = [_view(name, one, results) for name, one in results["networks"].items() if one["order"]]
    for view in views:
        view["neighbours"] = [_query(one, view["order"]) for one in (pictures or {}).get(view["name"], ())]
    title = f"{len(results['methods'])} methods compared on {results['videos']}"
    page = template("arena.html").render(title=title, results=results, networks=views, command=command)
    write_whole(folder / "report.html", page)
    return folder / "report.html"


def _view(name: str, one: Mapping[str, Any], results: Mapping[str, Any]) -> dict[str, Any]:
    order: list[str] = one["order"]
    rows = [{"name": method, **one["rows"][method]["measures"][MAIN]} for method in order]
    references = {key: value["retrieval"][MAIN] for key, value in one["references"].items()}
    numbers = {method: number for number, method in enumerate(order)}
    start = one["references"].get("untrained", {}).get("curve", [])
    tracks = {unit: _tracks(order, one["rows"], numbers, start, key) for unit, key in _UNITS.items()}
    return {
        "name": name,
        "first": first_line(one, results["budget"]),
        "alike": one["alike"],
        "order": order,
        "rows": one["rows"],
        "references": one["references"],
        "ranking": ranking_svg(rows, references, MAIN),
        "pairs": {key: pairs_svg(order, found) for key, found in one["pairs"].items()} if len(order) > 1 else {},
        "told": one["pairs"][MAIN],
        "tracks": [(unit, tracks_svg(found, unit, front=unit != "passes")) for unit, found in tracks.items() if found],
        "classes": classes_svg(one["per class"]),
        "shown": sorted({count for row in one["rows"].values() for count in row["few labels"]}, key=_count),
        "published": any(row.get("published") for row in one["rows"].values()),
        "time": list(dict.fromkeys(task for row in one["rows"].values() for task in row.get("time", {}))),
        "finetuned": any(row.get("fine-tuned") is not None for row in one["rows"].values()),
        "energy": all("joules" in row["cost"] for row in one["rows"].values()),
    }


def _query(one: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    methods = {method: rows_from_json([one["methods"][method]])[0] for method in order if method in one["methods"]}
    return {"query": rows_from_json([one["query"]])[0].lead, "methods": methods}


_UNITS = {"passes": "passes", "processor minutes": "processor seconds", "steps": "steps"}


def _tracks(
    order: Sequence[str],
    rows: Mapping[str, Mapping[str, Any]],
    numbers: Mapping[str, int],
    start: Sequence[Sequence[float]],
    key: str,
) -> list[Track]:
    """A track a method, in the unit; the shared frame encoder's seconds come first."""
    found = []
    for method in order:
        row = rows[method]
        total = row["cost"].get(key) if key.endswith("seconds") else row[key]
        if total is None:
            continue
        before = row["frame encoder"].get(key, 0.0)
        scale = 60 if key.endswith("seconds") else 1
        points = [*start, *row["curve"]]
        cost = [(before + total * step / row["steps"]) / scale for step, _ in points]
        found.append(Track(method, cost, [share for _, share in points], numbers[method]))
    return found


def _count(count: str) -> float:
    return float("inf") if count == "all" else int(count)
