"""What papers report for a method: the rows of the paper's tables of retrieval on UCF101."""

from __future__ import annotations

import re
from typing import Any

from cacl.experiments.reproduce.paper_tables import PaperRow, paper_tables

_NETS = {"C3D": ("c3d",), "R3D": ("r3d10",), "R(2+1)D": ("r2plus1d10",)}


def published(method: str, network: str) -> dict[str, Any]:
    """``R@1`` and the ``table`` that has it; empty where none has."""
    for table in paper_tables().values():
        if table.evaluation != "retrieval":
            continue
        for row in table.rows:
            numbers = row.paper.get("UCF101")
            if numbers and numbers[0] is not None and _is(row, method, network):
                return {"R@1": numbers[0], "table": table.title}
    return {}


def _is(row: PaperRow, method: str, network: str) -> bool:
    if row.ours is not None and row.ours.is_papers:
        return (row.ours.method, row.ours.network, row.ours.videos) == (method, network, "UCF101")
    name, wanted = _plain(row.name), _plain(method)
    said = (row.facts.get("net"), row.name.rpartition(", ")[2])
    nets = next((nets for net, nets in _NETS.items() if net in said), ())
    return len(wanted) > 2 and name in (wanted, f"{wanted}pred") and network in nets


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.partition(",")[0].lower())
