"""Table 3 as dots with their deviations: the positive pairs, and below each the same embeddings of unrelated clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cacl.methods.pairs import PAIR_NAMES as NAMES
from cacl.reports.figures import COLOURS, INK, RULE, SOFT, hover, new_figure, plain, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def similarity_figure(found: Mapping[str, Any], *, heading: str = "") -> Figure:
    """Mean cosines and standard deviations.

    Args:
        found: as of :meth:`cacl.evaluation.similarity.Similarity.numbers`.
        heading: above it.
    """
    pairs = {NAMES[name]: row for name, row in found["pairs"].items() if name in NAMES}
    figure = new_figure(7.0, 0.8 + 0.5 * len(pairs))
    axes = figure.subplots()
    plain(axes)
    axes.grid(axis="x", color=RULE)
    axes.set_axisbelow(True)
    for place, (name, row) in enumerate(pairs.items()):
        for kind, colour, up in (("", COLOURS[0], -0.17), ("unrelated ", SOFT, 0.17)):
            if f"{kind}mean" not in row:
                continue
            mean, deviation = float(row[f"{kind}mean"]), float(row[f"{kind}deviation"])
            axes.plot([mean - deviation, mean + deviation], [place + up] * 2, color=colour, alpha=0.5, linewidth=3)
            (dot,) = axes.plot(mean, place + up, "o", color=colour, markersize=6)
            hover(dot, [f"{name}, {kind or 'positive '}clips: {mean:.3f} ± {deviation:.3f}"])
            text = f"{mean:.3f} ± {deviation:.3f}"
            axes.text(
                1.02, place + up, text, color=colour, fontsize=8, va="center", transform=axes.get_yaxis_transform()
            )
    axes.set_yticks(range(len(pairs)), list(pairs), color=INK)
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    low, _ = axes.get_xlim()
    axes.set_xlim(min(low, 0.0), 1.0)
    axes.set_xlabel(f"cosine of {found['clips']} clips; in grey, of different videos", fontsize=8, color=SOFT)
    title(axes, heading)
    return figure
