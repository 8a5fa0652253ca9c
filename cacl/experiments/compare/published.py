"""What papers report for a method: the rows of the paper's tables of retrieval on UCF101."""

from __future__ import annotations

from typing import Any

from cacl.experiments.reproduce.paper_tables import Pretraining, paper_tables


def published(method: str, network: str) -> dict[str, Any]:
    """``R@1`` of the method trained on UCF101, and the ``table`` that has it; empty where none has.

    A number of another data set is left out: RSPNet's is of Kinetics-400.
    """
    for table in paper_tables().values():
        for row in table.rows:
            numbers = row.paper.get("UCF101")
            if table.evaluation != "retrieval" or row.ours != Pretraining(method, network, "UCF101") or row.elsewhere:
                continue
            if numbers and numbers[0] is not None:
                return {"R@1": numbers[0], "table": table.title}
    return {}
