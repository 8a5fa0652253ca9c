"""Training curves from ``metrics.jsonl``: what is drawn (panels), and the picture ``curves.png``.

Each panel answers one question a user has about a training: does the loss fall, has the degree task started, do the
pairs agree, does gradient reach the 3D CNN, do the features stay apart. The report draws the same panels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.methods.curves import Curve, Mark
from cacl.report.figures import save_figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe & Ito's colours, told apart by colour-blind readers, in the order in which lines take them."""


@dataclass(frozen=True, eq=False)
class Line:
    """One curve: ``y`` at training steps ``x``, both float64 ``[N]``, all finite; ``colour`` is ``#rrggbb``."""

    name: str
    colour: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def smooth(self) -> NDArray[np.float64]:
        """Centred moving average over about a twentieth of the points; at both ends over those that there are."""
        half = len(self.y) // 40
        total = np.concatenate([[0.0], np.cumsum(self.y)])
        at = np.arange(len(self.y))
        first, end = np.maximum(at - half, 0), np.minimum(at + half + 1, len(self.y))
        average: NDArray[np.float64] = (total[end] - total[first]) / (end - first)
        return average


@dataclass(frozen=True)
class Panel:
    """One small chart: lines over training steps.

    Attributes:
        title: what is shown, with the unit.
        lines: at least one.
        references: values to mark by a dashed line, with their names.
        log: logarithmic axis.
        percent: values are fractions, to be shown in percent.
    """

    title: str
    lines: tuple[Line, ...]
    references: tuple[tuple[str, float], ...] = ()
    log: bool = False
    percent: bool = False


LOSS = Curve("Loss", {"loss": "total"})
EVERY = (
    Curve("Standard deviation of features", {"feature_std": "features"}, references=(Mark("collapsed", 0.1),)),
    Curve("Effective rank of features", {"feature_rank": "features"}, references=(Mark("collapsed", 3.0),)),
    Curve("Learning rate", {"lr": "learning rate"}),
    Curve("Clips a second", {"clips_per_second": "clips a second"}),
)
"""What every training logs, whatever its method."""


def with_every(curves: Sequence[Curve]) -> list[Curve]:
    """A method's curves, and those of every training around them."""
    own = list(curves)
    return ([] if any("loss" in curve.lines for curve in own) else [LOSS]) + own + list(EVERY)


def panels(rows: Sequence[Mapping[str, Any]], curves: Sequence[Curve] = ()) -> list[Panel]:
    """The panels that a run's rows can fill; a key that is missing or never finite is left out, so is an empty panel.

    Args:
        rows: rows of ``metrics.jsonl``; those of another kind than ``"train"`` are passed over.
        curves: the method's.
    """
    train = [row for row in rows if row.get("kind", "train") == "train"]
    filled = []
    for curve in with_every(curves):
        lines, keys = [], []
        for colour, (key, name) in zip(COLOURS, curve.lines.items(), strict=False):
            x, y = _points(train, key, positive=curve.log)
            if len(x):
                lines.append(Line(name, colour, x, y))
                keys.append(key)
        if lines:
            references = tuple((mark.name, mark.value) for mark in curve.references if mark.of in (None, *keys))
            filled.append(Panel(curve.title, tuple(lines), references, curve.log, curve.percent))
    return filled


def overlaid(
    runs: Mapping[str, Sequence[Mapping[str, Any]]], curves: Mapping[str, Sequence[Curve]] | None = None
) -> list[Panel]:
    """A panel for each number that was written while training, with a line for each run that has it.

    Args:
        runs: name -> rows, as of :func:`panels`. A line is called as its run.
        curves: name -> the curves of its method. What they mark is marked where all runs agree on it.
    """
    own = {name: with_every((curves or {}).get(name, ())) for name in runs}
    filled = []
    for title, key in dict.fromkeys((c.title, key) for every in own.values() for c in every for key in c.lines):
        having = {
            n: curve for n, every in own.items() for curve in every if curve.title == title and key in curve.lines
        }
        first = next(iter(having.values()))
        lines: list[Line] = []
        marks = set[tuple[tuple[str, float], ...]]()
        for colour, name in enumerate(runs):
            curve = having.get(name)
            train = [row for row in runs[name] if row.get("kind", "train") == "train"]
            x, y = _points(train, key, positive=first.log)
            if curve is not None and len(x):
                lines.append(Line(name, COLOURS[colour % len(COLOURS)], x, y))
                alone = len(curve.lines) == 1
                marks.add(tuple((m.name, m.value) for m in curve.references if m.of == key or (alone and not m.of)))
        if lines:
            whole = f"{title}, {first.lines[key]}" if len(first.lines) > 1 else title
            references = next(iter(marks)) if len(marks) == 1 else ()
            filled.append(Panel(whole, tuple(lines), references, first.log, first.percent))
    return filled


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, curves: Sequence[Curve] = ()) -> bool:
    """Write ``curves.png``; returns False, and writes nothing, while there is nothing to draw. As :func:`panels`."""
    shown = panels(rows, curves)
    if not shown:
        return False
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    columns = min(3, len(shown))
    height = -(-len(shown) // columns)
    figure = Figure(figsize=(4.4 * columns, 3.0 * height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    for place, panel in enumerate(shown, 1):
        axes = figure.add_subplot(height, columns, place)
        axes.set_title(panel.title, loc="left", fontsize=10, fontweight="bold")
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        for line in panel.lines:
            axes.plot(line.x, line.y, color=line.colour, alpha=0.25, linewidth=0.8)
            axes.plot(line.x, line.smooth(), color=line.colour, linewidth=1.6, label=line.name)
        for name, value in panel.references:
            axes.axhline(value, color="#777777", linestyle="--", linewidth=1.0, label=name)
        if panel.log:
            axes.set_yscale("log")
        if panel.percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(fontsize=7, frameon=False)
    save_figure(figure, path)
    return True


def _points(
    rows: Sequence[Mapping[str, Any]], key: str, *, positive: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Steps and finite values (above 0 where asked) of one key."""
    points = []
    for number, row in enumerate(rows):
        value = row.get(key)
        if isinstance(value, (int, float)) and math.isfinite(value) and (value > 0 or not positive):
            points.append((float(row.get("step", number)), float(value)))
    array = np.array(points, np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]
