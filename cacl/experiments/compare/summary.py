"""All cells of a comparison as one dictionary: rows with intervals, every pair, curves, costs, what is missing.

``comparison.json`` holds it: of each network ``rows`` (method -> numbers), ``pairs`` (two methods, their difference),
``references``, ``curves`` and ``per class``; the page, the CSV file and the LaTeX table are made of it.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.evaluation.choice.difference import LEVEL, Difference, difference, holm, needed
from cacl.experiments.compare.measure import HITS
from cacl.experiments.compare.plan import Cell, Plan
from cacl.experiments.compare.published import published
from cacl.files import read_object
from cacl.reports.arena.words import MAIN, OURS

MUCH = 0.03  # off the budget
SPENT = ("passes", "steps", "epochs")
Results = Mapping[Cell, Mapping[str, Any]]


def summary(plan: Plan) -> dict[str, Any]:
    """Of all cells of the plan that are there."""
    asked = read_object(plan.out / "queries.json")
    found = {cell: read_object(plan.out / "cells" / cell.name / "results.json") for cell in plan.cells}
    there = {cell: one for cell, one in found.items() if one}
    return {
        "format": 1,
        "videos": plan.videos.name,
        "budget": str(plan.budget),
        "preset": plan.preset,
        "set": list(plan.assignments),
        "seeds": plan.seeds,
        "methods": list(plan.methods),
        "queries": asked.get("queries"),
        "gallery": asked.get("gallery"),
        "sources": len(set(asked.get("source", []))),
        "networks": {network: _network(plan, network, there, asked) for network in plan.networks},
        "off budget": _off_budget(plan, there),
        "missing": [str(cell) for cell, one in found.items() if not one and not _why(plan, cell)],
        "failed": {
            f"{cell}, fine-tuning" if one else str(cell): why
            for cell, one in found.items()
            if (why := _why(plan, cell)) and (plan.finetune or not one)
        },
    }


def _off_budget(plan: Plan, there: Results) -> dict[str, float]:
    """Row of cells -> percent by which whole epochs are more or less than the budget, where that is much."""
    if plan.budget.kind not in ("passes", "steps"):
        return {}
    shares = {f"{cell.method}, {cell.network}": one[plan.budget.kind] / plan.budget.amount - 1
              for cell, one in there.items()}  # fmt: skip
    return {row: round(100 * share, 1) for row, share in shares.items() if abs(share) > MUCH}


def _why(plan: Plan, cell: Cell) -> str:
    return str(read_object(plan.out / "cells" / cell.name / "failed.json").get("why", ""))


def _network(plan: Plan, network: str, there: Results, asked: Mapping[str, Any]) -> dict[str, Any]:
    own = {cell: one for cell, one in there.items() if cell.network == network}
    by_method: dict[str, dict[int, Mapping[str, Any]]] = {}
    for cell, one in own.items():
        by_method.setdefault(cell.method, {})[cell.seed] = one
    rows = {method: _row(seeds, asked["source"]) for method, seeds in by_method.items()}
    for method, row in rows.items():
        row["fine-tuned"] = _finetuned(plan.out, [cell for cell in own if cell.method == method])
        row["published"] = published(method, network)
    order = sorted(rows, key=lambda method: -rows[method]["measures"][MAIN]["mean"])
    pairs = {measure: _pairs(by_method, order, measure, asked["source"]) for measure in HITS}
    return {
        "order": order,
        "rows": {method: rows[method] for method in order},
        "alike": _alike(order, pairs[MAIN]),
        "pairs": pairs,
        "references": _references(plan.out, network, plan.seeds),
        "per class": _per_class({method: by_method[method] for method in order}, asked["label"]),
    }


def _row(seeds: Mapping[int, Mapping[str, Any]], sources: Sequence[str]) -> dict[str, Any]:
    """Mean over seeds of all numbers; those of ``HITS`` with an interval over seeds and source videos."""
    each = [seeds[seed] for seed in sorted(seeds)]
    measures: dict[str, Any] = {}
    for measure in HITS:
        hits_SV, kept = hit_rows(each, measure)
        names = [sources[i] for i in kept]
        one = difference(hits_SV, np.zeros_like(hits_SV), names)
        by_seed = [round(100 * float(row.mean()), 3) for row in hits_SV]
        measures[measure] = {**_interval(one), "by seed": by_seed}
    few = {key: [one["few labels"][key] for one in each if key in one["few labels"]] for key in each[0]["few labels"]}
    retrieval = {key: [one["retrieval"][key] for one in each] for key in each[0]["retrieval"]}
    curve: defaultdict[int, list[float]] = defaultdict(list)
    for result in each:
        for step, share in result["curve"]:
            curve[step].append(share)
    return {
        "seeds": sorted(seeds),
        "measures": measures,
        "retrieval": {key: _mean(values) for key, values in retrieval.items()},
        "few labels": {key: _mean(values) for key, values in few.items()},
        "time": {task: _mean([one["time"][task] for one in each]) for task in each[0].get("time", {})},
        "passes a sample": each[0]["passes a sample"],
        **{key: each[0][key] for key in SPENT},
        "cost": _mean_cost([one["cost"] for one in each]),
        "frame encoder": _mean_cost([one["frame encoder"] for one in each]),
        "curve": [[step, _mean(curve[step])] for step in sorted(curve)],
        "warnings": sorted({warning for one in each for warning in one["warnings"]}),
    }


def _finetuned(out: Path, cells: Sequence[Cell]) -> float | None:
    """Mean top-1 of the seeds that were fine-tuned, if any."""
    each = [read_object(out / "cells" / cell.name / "finetuned.json").get("top-1") for cell in cells]
    there = [float(one) for one in each if one is not None]
    return _mean(there) if there else None


def hit_rows(each: Sequence[Mapping[str, Any]], measure: str) -> tuple[NDArray[np.float64], list[int]]:
    """Right or not, ``[S, V]``, of the test videos that all results have, and their places."""
    rows = [one["hits"][measure] for one in each]
    kept = [i for i in range(len(rows[0])) if all(row[i] != "-" for row in rows)]
    return np.array([[float(row[i]) for i in kept] for row in rows]), kept


def _pairs(
    by_method: Mapping[str, Mapping[int, Mapping[str, Any]]], order: Sequence[str], measure: str, sources: Sequence[str]
) -> list[dict[str, Any]]:
    """Every two methods, the better one first, over the seeds that both have; corrected for their number (Holm).

    Whether a rival differs from ours was asked beforehand: it is corrected for the number of rivals.
    """
    found: list[tuple[str, str, Difference]] = []
    for first, second in itertools.combinations(order, 2):
        seeds = sorted(by_method[first].keys() & by_method[second].keys())
        if seeds:
            both = [by_method[method][seed] for method in (first, second) for seed in seeds]
            hits, kept = hit_rows(both, measure)
            one = difference(hits[: len(seeds)], hits[len(seeds) :], [sources[i] for i in kept])
            found.append((first, second, one))
    corrected = holm([one.p for _, _, one in found])
    with_ours = iter(holm([one.p for first, second, one in found if OURS in (first, second)]))
    pairs = []
    for (first, second, one), p in zip(found, corrected, strict=True):
        rival = next(with_ours) if OURS in (first, second) else None
        enough = needed(one)
        pairs.append(
            {
                "first": first,
                "second": second,
                **_interval(one),
                "p": _rounded(one.p, 6),
                "corrected p": _rounded(p, 6),
                "different": p < LEVEL,
                "different from ours": None if rival is None else rival < LEVEL,
                "seeds": one.seeds,
                "seeds for 2 points": enough.seeds,
                "videos for 2 points": enough.videos,
            }
        )
    return pairs


def _alike(order: Sequence[str], pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The methods that cannot be told apart from the first, corrected for their number."""
    own = [pair for pair in pairs if pair["first"] == order[0]]
    corrected = holm([pair["p"] for pair in own])
    return [pair["second"] for pair, p in zip(own, corrected, strict=True) if p >= LEVEL]


def _references(out: Path, network: str, seeds: int) -> dict[str, Any]:
    found: dict[str, Any] = dict(read_object(out / "references" / "videos.json"))
    files = [out / "references" / f"untrained-{network}-seed{seed}.json" for seed in range(seeds)]
    each = [one for one in map(read_object, files) if one]
    if each:
        found["untrained"] = {
            "retrieval": {key: _mean([one["retrieval"][key] for one in each]) for key in each[0]["retrieval"]},
            "few labels": {key: _mean([one["few labels"][key] for one in each]) for key in each[0]["few labels"]},
            **{key: _mean([one[key] for one in each]) for key in ("k-NN", "linear probe")},
            "time": {task: _mean([one["time"][task] for one in each]) for task in each[0].get("time", {})},
            "curve": [[0, _mean([one["curve"][0][1] for one in each])]],
        }
        if "chance" in found and each[0].get("time by chance"):
            found["chance"] = {**found["chance"], "time": each[0]["time by chance"]}
    return {name: {key: value for key, value in one.items() if key != "hits"} for name, one in found.items()}


def _per_class(
    by_method: Mapping[str, Mapping[int, Mapping[str, Any]]], labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Method -> class -> R@1 in percent, the mean over seeds."""
    found: dict[str, dict[str, float]] = {}
    for method, seeds in by_method.items():
        right: dict[str, list[float]] = {label: [] for label in sorted(set(labels))}
        for one in seeds.values():
            for sign, label in zip(one["hits"][MAIN], labels, strict=True):
                if sign != "-":
                    right[label].append(float(sign))
        found[method] = {label: _mean([100 * value for value in values]) for label, values in right.items() if values}
    return found


def _mean_cost(each: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Of what all of them know."""
    keys = set.intersection(*(set(one) for one in each)) if each else set()
    return {key: _mean([one[key] for one in each]) for key in sorted(keys)}


def _interval(one: Difference) -> dict[str, float | None]:
    return {"mean": _rounded(one.mean, 3), "low": _rounded(one.low, 3), "high": _rounded(one.high, 3)}


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if np.isfinite(value) else None


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3)
