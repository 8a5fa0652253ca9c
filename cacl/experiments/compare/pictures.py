"""Some queries with what is nearest to each under every method: moving pictures for the page, kept as JSON."""

from __future__ import annotations

import json
from typing import Any

from cacl.data.videos.dataset import Dataset
from cacl.errors import UserError
from cacl.evaluation.evaluate import Neighbours, retrieval_parts
from cacl.experiments.compare.plan import Plan
from cacl.experiments.compare.shared import open_shared
from cacl.files import read_object
from cacl.reports.neighbours import neighbour_rows
from cacl.reports.previews import preview_rows, rows_to_json
from cacl.run_folder import RunFolder

FILE = "neighbours.json"
_HEIGHT = 64  # pixels


def neighbour_pictures(plan: Plan) -> dict[str, Any]:
    """Network -> queries of the first seed: ``{"query": row, "methods": {method: row}}``, rows of ``reports.previews``.

    Made anew where there are other cells than last time; what is kept stays where the videos are elsewhere by now.
    """
    found = {
        (cell.network, cell.method): one["neighbours"]
        for cell in plan.cells
        if cell.seed == 0 and "neighbours" in (one := read_object(plan.out / "cells" / cell.name / "results.json"))
    }
    if not found:
        return {}
    of = [list(pair) for pair in found]
    before = read_object(plan.out / FILE)
    if before.get("of") == of:
        return dict(before["networks"])
    run = RunFolder(plan.out)
    try:
        data = open_shared(plan, say=lambda text: None)
        test, train = retrieval_parts(data)[::-1]
        networks = {network: _queries(data, test, train, network, found) for network in plan.networks}
    except UserError as error:
        run.log(f"No pictures of neighbours: {error}")
        return dict(before.get("networks", {}))
    run.write(FILE, json.dumps({"of": of, "networks": networks}, ensure_ascii=False) + "\n")
    return networks


def _queries(
    data: Dataset, test: list[int], train: list[int], network: str, found: dict[tuple[str, str], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    own = {method: rows for (of, method), rows in found.items() if of == network}
    queries: dict[int, dict[str, Any]] = {}
    for method, rows in own.items():
        for row in rows:
            asked = Neighbours(test[row["query"]], tuple(train[place] for place in row["found"]), tuple(row["cosine"]))
            for drawn in rows_to_json(preview_rows(neighbour_rows(data, [asked], height=_HEIGHT))):
                one = queries.setdefault(row["query"], {"query": {**drawn, "tiles": []}, "methods": {}})
                one["methods"][method] = {**drawn, "lead": None}
    return [queries[number] for number in sorted(queries)]
