"""Temporal probes as bars: a panel a task, chance as a dashed line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cacl.reports.curves import reference
from cacl.reports.figures import COLOURS, GREY, INK, PAPER, hover, new_figure, plain, title, words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

UNTRAINED = ("frame differences", "untrained")


def probes_figure(results: Mapping[str, Any]) -> Figure:
    """The tasks side by side.

    Args:
        results: as of :func:`cacl.evaluation.temporal.probe.probe_time`.
    """
    figure = new_figure(3.2 * len(results), 3.0)
    for axes, (task, found) in zip(figure.subplots(1, len(results), squeeze=False)[0], results.items(), strict=True):
        _draw_task(axes, found)
        title(axes, f"{task[0].upper()}{task[1:]}, {len(found['classes'])} classes")
    return figure


def _draw_task(axes: Axes, found: Mapping[str, Any]) -> None:
    plain(axes)
    rows = found["rows"]
    ends = [float(found["chance"])]
    for place, (name, row) in enumerate(rows.items()):
        height, error = float(row["accuracy"]), float(row["standard error"] or 0)
        error = error if error == error else 0.0  # of one test video
        ends.append(height + error)
        bars = axes.bar(place, height, width=0.66, color=GREY if name in UNTRAINED else COLOURS[0])
        hover(bars[0], [f"{name}: {height:.1f} ± {error:.1f} %"])
        axes.errorbar(place, height, yerr=error, color=INK, capsize=3, linewidth=1.2)
        inside = INK if name in UNTRAINED else PAPER
        axes.text(place, 0.02 * height, f"{height:.1f}", ha="center", va="bottom", fontsize=9, color=inside)
    reference(axes, "chance", found["chance"])
    axes.set_ylim(0, 1.12 * max(ends))
    axes.set_xlim(-0.6, len(rows) + 0.15)
    axes.set_yticks([])
    axes.set_xticks(range(len(rows)), [words(name).replace(" ", "\n") for name in rows])
