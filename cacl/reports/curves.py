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

from cacl.reports.figures import save_figure

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


# title, keys with names, references that are always the same, log, percent
_LAYOUT: tuple[tuple[str, dict[str, str], tuple[tuple[str, float], ...], bool, bool], ...] = (
    ("Loss", {"loss": "total", "nce": "contrastive", "degree_loss": "degree"}, (), False, False),
    ("Degree accuracy", {"degree_accuracy": "training clips"}, (), False, True),
    ("Accuracy", {"accuracy": "training clips"}, (), False, True),  # of a fine-tuning
    (
        "Similarity of pairs",
        {
            "similarity_gq_gk": "Gq, Gk",
            "similarity_gq_tq": "Gq, Tq",
            "similarity_gq_tk": "Gq, Tk",
            "similarity_tq_tk": "Tq, Tk",
            "similarity_negatives": "negatives",
        },
        (),
        False,
        False,
    ),
    ("Gradient norm at G", {"grad_nce": "contrastive", "grad_degree": "degree"}, (), True, False),
    ("Standard deviation of features", {"feature_std": "features"}, (("collapsed", 0.1),), False, False),
    ("Effective rank of features", {"feature_rank": "features"}, (("collapsed", 3.0),), False, False),
    ("Learning rate", {"lr": "learning rate"}, (), False, False),
    ("Clips a second", {"clips_per_second": "clips a second"}, (), False, False),
)


def panels(rows: Sequence[Mapping[str, Any]], *, degrees: int = 16) -> list[Panel]:
    """The panels that a run's rows can fill; a key that is missing or never finite is left out, so is an empty panel.

    Args:
        rows: rows of ``metrics.jsonl``; those of another kind than ``"train"`` are passed over.
        degrees: how many shuffle degrees there are to choose from: where guessing stands in the charts.
    """
    train = [row for row in rows if row.get("kind", "train") == "train"]
    filled = []
    for title, keys, references, log, percent in _LAYOUT:
        lines = []
        for colour, (key, name) in zip(COLOURS, keys.items(), strict=False):
            x, y = _points(train, key, positive=log)
            if len(x):
                lines.append(Line(name, colour, x, y))
        if lines:
            if title == "Degree accuracy":
                references = (("chance", 1 / degrees),)
            elif title == "Loss" and any(line.name == "degree" for line in lines):
                references = ((f"ln {degrees}", math.log(degrees)),)  # where the degree loss starts
            filled.append(Panel(title, tuple(lines), references, log, percent))
    return filled


def overlaid(runs: Mapping[str, Sequence[Mapping[str, Any]]], *, degrees: int | None = 16) -> list[Panel]:
    """A panel for each number that was written while training, with a line for each run that has it.

    Args:
        runs: name -> rows, as of :func:`panels`. A line is called as its run.
        degrees: how many shuffle degrees there are to choose from, None where the runs differ in it.
    """
    found = {name: {panel.title: panel for panel in panels(rows, degrees=degrees or 1)} for name, rows in runs.items()}
    filled = []
    for title, keys, _, log, percent in _LAYOUT:
        for line_name in keys.values():
            lines: list[Line] = []
            references: tuple[tuple[str, float], ...] = ()
            for colour, (name, own) in enumerate(found.items()):
                for line in own[title].lines if title in own else ():
                    if line.name == line_name:
                        lines.append(Line(name, COLOURS[colour % len(COLOURS)], line.x, line.y))
                        references = own[title].references
            told = line_name == "degree" if title == "Loss" else title == "Degree accuracy"
            if (title == "Loss" and not told) or (told and degrees is None):
                references = ()
            if lines:
                whole = f"{title}, {line_name}" if len(keys) > 1 else title
                filled.append(Panel(whole, tuple(lines), references, log, percent))
    return filled


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, *, degrees: int = 16) -> bool:
    """Write ``curves.png``; returns False, and writes nothing, while there is nothing to draw. As :func:`panels`."""
    shown = panels(rows, degrees=degrees)
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
