"""Training curves from ``metrics.jsonl``, as ``curves.png`` and in the report.

Each panel answers one question a user has about a training: does the loss fall, has its task started, do the features
stay apart. What there is to show a method says itself (``cacl/methods/curves.py``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cacl.methods.curves import Curve, Mark
from cacl.reports.figures import COLOURS, INK, RULE, SOFT, new_figure, plain, save_figure, svg, title, words

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

_NARROW = "\N{NARROW NO-BREAK SPACE}"
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 2)))  # a seventh line has the first colour again
_POINTS = 240  # more than a chart has pixels to show


@dataclass(frozen=True, eq=False)
class Line:
    """One curve: ``y`` at training steps ``x``, both float64 ``[N]``, all finite; ``number`` chooses its colour."""

    name: str
    number: int
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

    @property
    def last(self) -> float:
        """Mean over the last twentieth."""
        return float(self.y[-1 - len(self.y) // 20 :].mean())


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
        for number, (key, name) in enumerate(curve.lines.items()):
            x, y = _points(train, key, positive=curve.log)
            if len(x):
                lines.append(Line(name, number, x, y))
                keys.append(key)
        if lines:
            references = tuple((mark.name, mark.value) for mark in curve.references if mark.of in (None, *keys))
            filled.append(Panel(curve.title, tuple(lines), references, curve.log, curve.percent))
    return filled


def overlaid(
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    curves: Mapping[str, Sequence[Curve]] | None = None,
    *,
    numbers: Mapping[str, int] | None = None,
) -> list[Panel]:
    """A panel for each number that was written while training, with a line for each run that has it.

    Args:
        runs: name -> rows, as of :func:`panels`. A line is called as its run.
        curves: name -> the curves of its method. What they mark is marked where all runs agree on it.
        numbers: name -> number of its colour, by default in the order of ``runs``.
    """
    numbers = {name: number for number, name in enumerate(runs)} if numbers is None else numbers
    own = {name: with_every((curves or {}).get(name, ())) for name in runs}
    filled = []
    for heading, key in dict.fromkeys((c.title, key) for every in own.values() for c in every for key in c.lines):
        having = {n: c for n, every in own.items() for c in every if c.title == heading and key in c.lines}
        first = next(iter(having.values()))
        lines: list[Line] = []
        marks = set[tuple[tuple[str, float], ...]]()
        for name, curve in having.items():
            train = [row for row in runs[name] if row.get("kind", "train") == "train"]
            x, y = _points(train, key, positive=first.log)
            if len(x):
                lines.append(Line(name, numbers[name], x, y))
                alone = len(curve.lines) == 1
                marks.add(tuple((m.name, m.value) for m in curve.references if m.of == key or (alone and not m.of)))
        if lines:
            whole = f"{heading}, {first.lines[key]}" if len(first.lines) > 1 else heading
            references = next(iter(marks)) if len(marks) == 1 else ()
            filled.append(Panel(whole, tuple(lines), references, first.log, first.percent))
    return filled


def draw_curves(rows: Sequence[Mapping[str, Any]], path: Path, curves: Sequence[Curve] = ()) -> bool:
    """Write ``curves.png``; returns False, and writes nothing, while there is nothing to draw. As :func:`panels`."""
    shown = panels(rows, curves)
    if not shown:
        return False
    columns = min(3, len(shown))
    height = -(-len(shown) // columns)
    figure = new_figure(4.4 * columns, 3.0 * height)
    for place, panel in enumerate(shown, 1):
        axes = figure.add_subplot(height, columns, place)
        draw_panel(axes, panel)
        title(axes, panel.title)
        axes.set_xlabel("step", fontsize=8, color=SOFT)
        axes.legend(fontsize=7, frameon=False, labelcolor=INK)
    save_figure(figure, path)
    return True


@dataclass(frozen=True)
class Chart:
    """A chart of a page: ``svg``, its title, and of each line in it name, number of its colour, and last value."""

    title: str
    svg: Markup
    legend: tuple[tuple[str, int, str], ...]


def chart(panel: Panel) -> Chart:
    """A panel for a page, which sets title and legend itself."""
    drawn = page_chart(lambda axes: draw_panel(axes, panel), f"{panel.title} over training steps")
    last = [_short(line.last, panel.percent) for line in panel.lines]
    legend = tuple((line.name, line.number, text) for line, text in zip(panel.lines, last, strict=True))
    return Chart(panel.title, drawn, legend)


def page_chart(draw: Callable[[Axes], None], label: str) -> Markup:
    """Axes of the size that all charts of a page have, drawn upon."""
    figure = new_figure(340 / 72, 190 / 72)  # so that a point is a pixel of a phone
    figure.set_layout_engine("none")
    axes = figure.add_axes((46 / 340, 24 / 190, 284 / 340, 156 / 190))
    draw(axes)
    axes.tick_params(labelsize=10)
    return svg(figure, label)


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw the lines faintly as measured, boldly as moving averages; and the references, dashed."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    plain(axes)
    axes.grid(axis="y", color=RULE)
    axes.set_axisbelow(True)
    for line in panel.lines:
        colour, dash = COLOURS[line.number % len(COLOURS)], _DASHES[line.number // len(COLOURS) % len(_DASHES)]
        mark = "o" if len(line.x) == 1 else ""
        x = thin(line.x)
        axes.plot(x, thin(line.y), color=colour, alpha=0.28, linewidth=1.0)
        (bold,) = axes.plot(x, thin(line.smooth()), color=colour, linewidth=2.0, marker=mark, label=words(line.name))
        bold.set(linestyle=dash, markersize=3)
    for name, value in panel.references:
        reference(axes, name, value)
    if panel.log:
        axes.set_yscale("log")
    elif 0 <= (low := axes.dataLim.y0) < 0.5 * axes.dataLim.y1:
        axes.set_ylim(bottom=min(low, 0.0))  # a chart that starts at nought does not exaggerate
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: _short(value, panel.percent, 4)))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.0f}".replace(",", _NARROW)))
    axes.yaxis.set_minor_formatter("")
    axes.margins(x=0)


def reference(axes: Axes, name: str, value: float) -> None:
    """A dashed line with its name at the right end."""
    axes.axhline(value, color=SOFT, linestyle="--", linewidth=1.0)
    at: Any = axes.get_yaxis_transform()
    label = axes.annotate(name, (1, value), (0, 3), xycoords=at, textcoords="offset points")
    label.set(ha="right", fontsize=8, color=SOFT)


def thin(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most 240 values: means of neighbours where there are more."""
    if len(values) <= _POINTS:
        return values
    edges = np.linspace(0, len(values), _POINTS + 1).astype(int)
    means: NDArray[np.float64] = np.add.reduceat(values, edges[:-1]) / np.diff(edges)
    return means


def _short(value: float, percent: bool = False, digits: int = 3) -> str:
    """As short as it can be said."""
    text = f"{100 * value if percent else value:.{digits}g}"
    return f"{text}{_NARROW}%" if percent else text.replace("e-0", "e-")


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
