"""What papers report for a method: the rows of the paper's tables of retrieval on UCF101."""

from __future__ import annotations

from typing import Any

from cacl.experiments.reproduce.paper_tables import paper_tables


def published(method: str, network: str) -> dict[str, Any]:
    """``R@1`` of the method trained on UCF101, and the ``table`` that has it; empty where none has.

    Where the table of retrieval does not say on what a method was trained, another table may: RSPNet's number is of
    Kinetics-400, and left out.
    """
    own = [
        (table, row)
        for table in paper_tables().values()
        for row in table.rows
        if row.ours is not None and (row.ours.method, row.ours.network) == (method, network)
    ]
    said = {row.facts["pretrained"] for _, row in own if row.facts.get("pretrained")}
    if said and "UCF101" not in said:
        return {}
    for table, row in own:
        numbers = row.paper.get("UCF101")
        on_ucf = row.ours is not None and row.ours.videos == "UCF101"
        if table.evaluation == "retrieval" and on_ucf and numbers and numbers[0] is not None:
            return {"R@1": numbers[0], "table": table.title}
    return {}
