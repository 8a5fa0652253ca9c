"""Ours beside the paper's rows, over seeds: one dictionary for the screen, the CSV file and the page.

``{"table": "table1", "sets": [...], "columns": [...], "rows": [{"name", "facts", "paper", "ours", "sd"}], ...}``, where
``paper``, ``ours`` and ``sd`` are data set -> column -> number. What the paper or we do not have is left out of them.
``ours_on`` is on what ours is pretrained, ``elsewhere`` whether the paper's number is of another data set.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cacl.evaluation.results import merge_seeds
from cacl.experiments.reproduce.paper_tables import PaperRow, PaperTable, SetName

Measured = Mapping[str, Any]


def table_results(
    table: PaperTable,
    found: Mapping[tuple[int, SetName], Mapping[int, Measured]],
    without: Mapping[tuple[str, SetName], Mapping[int, Measured]],
    *,
    scale: str,
    seeds: Sequence[int],
    notes: Sequence[str],
) -> dict[str, Any]:
    """Everything that is shown.

    Args:
        table: the paper's.
        found: (row number, data set) -> seed -> what ``parts.measured`` gave.
        without: (network as the paper writes it, data set) -> seed -> what ``parts.untrained`` gave.
        scale: ``tiny`` or ``paper``.
        seeds: of every training.
        notes: what a reader has to know.
    """
    rows = [_row(table, number, row, found) for number, row in enumerate(table.rows)]
    own = [note for each in found.values() for one in each.values() for note in one["notes"]]
    results = {
        "table": table.key,
        "title": table.title,
        "evaluation": table.evaluation,
        "words": table.words,
        "scale": scale,
        "seeds": list(seeds),
        "sets": list(table.sets),
        "columns": list(table.columns),
        "digits": table.digits,
        "facts": list(table.facts),
        "rows": rows,
        "references": _references(table, found, without),
        "notes": [*notes, *_not_alike(table), *dict.fromkeys(own)],
    }
    maps = [one for each in found.values() for one in each.values() if "attention" in one]
    if maps:
        results["tokens"] = maps[0]["tokens"]
        results["attention"] = np.mean([one["attention"] for one in maps], axis=0).tolist()
    return results


def _row(
    table: PaperTable, number: int, row: PaperRow, found: Mapping[tuple[int, SetName], Mapping[int, Measured]]
) -> dict[str, Any]:
    paper = {
        on: {column: value for column, value in zip(table.columns, numbers, strict=True) if value is not None}
        for on, numbers in row.paper.items()
    }
    each = {on: {seed: one["numbers"] for seed, one in found[number, on].items()} for on in row.paper
            if (number, on) in found}  # fmt: skip
    on = {} if row.ours is None else {"ours_on": row.ours.videos, "elsewhere": bool(row.elsewhere)}
    return {"name": row.name, "facts": dict(row.facts), **on, "paper": paper, **_merged(table, each)}


def _not_alike(table: PaperTable) -> list[str]:
    """What a reader has to know of numbers that stand beside each other and were pretrained on different videos."""
    return [
        f"{row.name}, {row.facts['net']}: the published number was pretrained on {row.elsewhere}, ours and the rows "
        f"beside it on {row.ours.videos}; the two say nothing of each other."
        for row in table.rows
        if row.ours is not None and row.elsewhere
    ]


def _merged(table: PaperTable, each: Mapping[SetName, Mapping[int, Mapping[str, float]]]) -> dict[str, Any]:
    """``ours`` and ``sd``: mean and sample standard deviation over the seeds, for the table's columns."""
    ours, deviations = {}, {}
    for on, by_seed in each.items():
        merged = merge_seeds({str(seed): numbers for seed, numbers in by_seed.items()})
        spread = merged.get("standard deviation", {})
        ours[on] = {column: merged[column] for column in table.columns if column in merged}
        deviations[on] = {column: spread[column] for column in table.columns if column in spread}
    return {"ours": ours, "sd": {on: spread for on, spread in deviations.items() if spread}}


def _references(
    table: PaperTable,
    found: Mapping[tuple[int, SetName], Mapping[int, Measured]],
    without: Mapping[tuple[str, SetName], Mapping[int, Measured]],
) -> list[dict[str, Any]]:
    """Rows of what was not learned; an untrained network's and a row's own say of which network they are."""
    each: dict[tuple[str, str], dict[SetName, dict[int, Mapping[str, float]]]] = {}
    for (network, on), by_seed in without.items():
        for seed, one in by_seed.items():
            for name, numbers in one["references"].items():
                key = (name, network if name.startswith("untrained") else "")
                each.setdefault(key, {}).setdefault(on, {})[seed] = numbers
    for (number, on), by_seed in found.items():
        for seed, one in by_seed.items():
            for name, numbers in one["references"].items():
                key = (name if name == "chance" else f"{table.rows[number].name}, {name}", "")
                each.setdefault(key, {}).setdefault(on, {})[seed] = numbers
    order = sorted(each, key=lambda key: key[0].startswith("untrained"))
    return [
        {"name": key[0], "facts": {"net": key[1]} if key[1] else {}, "paper": {}, **_merged(table, each[key])}
        for key in order
    ]


def table_csv(results: Mapping[str, Any]) -> str:
    """One line a number: table, row, its facts, data set, measure, the paper's, ours, its deviation, and the seeds."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    facts = results["facts"]
    measured = ["data set", "measure", "paper", "ours", "sd", "seeds", "scale"]
    writer.writerow(["table", "row", *facts, "ours pretrained", *measured])
    for row in [*results["rows"], *results["references"]]:
        for on in results["sets"]:
            for column in results["columns"]:
                numbers = [row[kind].get(on, {}).get(column) for kind in ("paper", "ours", "sd")]
                if numbers == [None] * 3:
                    continue
                seeds = len(results["seeds"]) if numbers[1] is not None else 0
                of_row = [row["facts"].get(fact, "") for fact in facts]
                cells = ["" if value is None else f"{value:.6g}" for value in numbers]
                writer.writerow(
                    [
                        results["table"],
                        row["name"],
                        *of_row,
                        row.get("ours_on", ""),
                        on,
                        column,
                        *cells,
                        seeds,
                        results["scale"],
                    ]
                )
    return out.getvalue()
