"""The tables of the ladder: every recipe beside V-MoCo and beside the frozen encoder, with paired intervals.

An interval draws source videos anew, the same for both sides, and seeds: of each of 2 000 draws the mean over its
videos and seeds, and of these the middle 95 %.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median, pstdev
from typing import Any

import numpy as np

Cells = list[dict[str, Any]]
BASE = "v-moco"
DRAWS = 2000


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
            there = there + [c for c in by_budget[epochs, "steps"] if c["recipe"] == reference(cells)]
        title = f"{epochs} epochs each" if budget == "steps" else f"the time of {epochs} epochs of {reference(cells)}"
        parts.append(f"## {title}\n\n{rows_of(there, groups)}")
    return "\n\n".join(parts)


def reference(cells: Cells) -> str:
    """The recipe that the time is taken from: what has no cells of its own at equal time."""
    timed = {cell["recipe"] for cell in cells if cell["budget"] == "time"}
    return next((c["recipe"] for c in cells if c["recipe"] not in timed), "cvrl")


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
        "–".join(map(str, {steps[0]: 0, steps[-1]: 0})),
        f"{median(cell['processor seconds'] for cell in cells):.0f}",
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
    return f"{median(values):.1f}" + (
        f" ± {pstdev(values) * (len(values) / (len(values) - 1)) ** 0.5:.1f}" if len(values) > 1 else ""
    )


def interval(first: Cells, second: Cells, a: str, b: str, groups: Sequence[str]) -> str:
    """Mean difference over the seeds that both have, and its 95 % interval."""
    seeds = sorted({c["seed"] for c in first} & {c["seed"] for c in second})
    if not seeds:
        return ""
    of = [
        {c["seed"]: np.array([int(x) for x in c[key]["right"]], float) for c in cells}
        for cells, key in ((first, a), (second, b))
    ]
    difference_SV = np.stack([of[0][seed] - of[1][seed] for seed in seeds])
    names, index_V = np.unique(np.asarray(groups), return_inverse=True)
    size_G = np.bincount(index_V).astype(float)
    sum_SG = np.stack([np.bincount(index_V, weights=row) for row in difference_SV])
    rng = np.random.default_rng(0)
    times_RG = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    times_RS = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), size=DRAWS) / len(seeds)
    means_R = np.einsum("rs,sg,rg->r", times_RS, sum_SG, times_RG) / (times_RG @ size_G)
    low, high = np.percentile(means_R, [2.5, 97.5])
    return f"{100 * difference_SV.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
