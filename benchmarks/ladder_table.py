"""The tables of the ladder: every recipe beside V-MoCo and beside the frozen encoder, with paired intervals.

Intervals are those of ``cacl compare``: over seeds and source videos together (``cacl.evaluation.choice.difference``).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

from cacl.evaluation.choice.difference import difference

Cells = list[dict[str, Any]]
BASE = "v-moco"  # what every row is compared with
REFERENCE = "cvrl"  # whose time the others have at equal time


def table(results: Path) -> str:
    """Markdown of all cells in a folder."""
    cells = [json.loads(path.read_text()) for path in sorted(results.glob("*.json")) if path.name != "videos.json"]
    if not cells:
        return f"No finished cell in {results}."
    groups = json.loads((results / "videos.json").read_text())["groups"]
    by_budget: dict[tuple[int, str], Cells] = defaultdict(list)
    for cell in cells:
        by_budget[cell["of"], cell["budget"]].append(cell)
    parts = []
    for (epochs, budget), there in sorted(by_budget.items()):
        if budget == "time":  # the reference trains its epochs in either
            there = there + [c for c in by_budget[epochs, "steps"] if c["recipe"] == REFERENCE]
        title = f"{epochs} epochs each" if budget == "steps" else f"the time of {epochs} epochs of {REFERENCE}"
        parts.append(f"## {title}\n\n{rows_of(there, groups)}")
    return "\n\n".join(parts)


def rows_of(cells: Cells, groups: Sequence[str]) -> str:
    """A row a recipe."""
    of: dict[str, Cells] = defaultdict(list)
    for cell in sorted(cells, key=lambda cell: cell["seed"]):
        of[cell["recipe"]].append(cell)
    lines = [
        "| recipe | seeds | steps | processor s | R@1 | R@5 | R@10 | minus V-MoCo | fused R@1 | minus frozen | "
        "5 labels a class: own, fused |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, there in sorted(of.items(), key=lambda item: mean(c["own"]["R@1"] for c in item[1])):
        lines.append(" | ".join(["| " + name, *columns(there, of.get(BASE, []), groups)]) + " |")
    frozen = next((c for c in cells if "frozen" in c), None)
    if frozen is not None:
        found = [f"{frozen['frozen'][k]:.1f}" for k in ("R@1", "R@5", "R@10")]
        few = frozen["few labels"]["frozen"]
        lines.append(
            f"\nFrozen alone: R@1/5/10 {'/'.join(found)}; labels a class: top-1 "
            + ", ".join(f"{count}: {top:.1f}" for count, top in few.items())
            + "."
        )
    return "\n".join(lines)


def columns(cells: Cells, base: Cells, groups: Sequence[str]) -> list[str]:
    """What a row says behind its name."""
    steps = sorted({cell["steps"] for cell in cells})
    found = [
        ", ".join(str(cell["seed"]) for cell in cells),
        "–".join(map(str, dict.fromkeys((steps[0], steps[-1])))),
        f"{median(cell['processor seconds'] for cell in cells if 'processor seconds' in cell):.0f}",
        *(spread([cell["own"][key] for cell in cells]) for key in ("R@1", "R@5", "R@10")),
        "" if cells is base or not base else interval(cells, base, "own", "own", groups),
    ]
    if any("fused" not in cell for cell in cells):
        return [*found, "", "", ""]
    few = [mean(cell["few labels"][name]["5"] for cell in cells) for name in ("own", "fused")]
    return [
        *found,
        spread([cell["fused"]["R@1"] for cell in cells]),
        interval(cells, cells, "fused", "frozen", groups),
        f"{few[0]:.1f}, {few[1]:.1f}",
    ]


def spread(values: Sequence[float]) -> str:
    """Median, and where there are several the standard deviation."""
    return f"{median(values):.1f}" + (f" ± {stdev(values):.1f}" if len(values) > 1 else "")


def interval(first: Cells, second: Cells, a: str, b: str, sources: Sequence[str]) -> str:
    """Mean difference over the seeds that both have, and its 95 % interval over seeds and source videos."""
    seeds = sorted({c["seed"] for c in first} & {c["seed"] for c in second})
    if not seeds:
        return ""
    right = []
    for cells, key in ((first, a), (second, b)):
        of = {c["seed"]: [float(x) for x in c[key]["right"]] for c in cells}
        right.append(np.array([of[seed] for seed in seeds]))
    found = difference(right[0], right[1], sources)
    return f"{found.mean:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"
