"""Geometry of the report's line charts: ticks and SVG paths, so that the page draws them in its own colours.

An SVG that uses the page's colours follows light and dark mode and stays sharp at every width; a picture does neither.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cacl.reports.curves import Panel

WIDTH, HEIGHT = 340, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 10, 24
POINTS = 240  # more than the chart has pixels to show


@dataclass(frozen=True)
class Drawn:
    """A panel in SVG units (``viewBox 0 0 340 190``).

    Attributes:
        title: of the panel.
        paths: name, number of its colour, faint path of the values, bold path of their moving average.
        references: name and height of each dashed line.
        x_ticks: place and text; ``y_ticks`` likewise.
        last: name -> last smoothed value as text.
    """

    title: str
    paths: tuple[tuple[str, int, str, str], ...]
    references: tuple[tuple[str, float], ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    last: dict[str, str]


def draw_panel(panel: Panel, *, numbers: Sequence[int] | None = None) -> Drawn:
    """Scale a panel into the box.

    Args:
        panel: what to draw.
        numbers: of the colour of each line; by default they take them in turn.
    """

    def warp(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.log10(values) if panel.log else values

    shown = np.concatenate([warp(line.y) for line in panel.lines] + [np.array([v for _, v in panel.references])])
    low, high = float(shown.min()), float(shown.max())
    if not panel.log and low >= 0 and low < 0.5 * high:
        low = 0.0  # a chart that starts at nought does not exaggerate
    low, high = (low, high) if high > low else (low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1))
    high += 0.04 * (high - low)
    first = min(float(line.x[0]) for line in panel.lines)
    end = max(float(line.x[-1]) for line in panel.lines)
    end = end if end > first else first + 1

    def px(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return LEFT + (x - first) / (end - first) * (WIDTH - LEFT - RIGHT)

    def py(y: NDArray[np.float64]) -> NDArray[np.float64]:
        return HEIGHT - BOTTOM - (y - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    paths = []
    for number, line in zip(numbers or range(len(panel.lines)), panel.lines, strict=True):
        x, smooth = thin(line.x), warp(thin(line.smooth()))
        paths.append((line.name, number, _path(px(x), py(warp(thin(line.y)))), _path(px(x), py(smooth))))
    y_values = _log_ticks(low, high) if panel.log else ticks(low, high)
    x_values = [v for v in ticks(first, end) if v == int(v)]
    return Drawn(
        panel.title,
        tuple(paths),
        tuple((name, float(py(np.array(value)))) for name, value in panel.references),
        tuple((float(px(np.array(v))), f"{v:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")) for v in x_values),
        tuple((float(py(np.array(v))), _number(10**v if panel.log else v, percent=panel.percent)) for v in y_values),
        {line.name: _number(float(line.y[-1 - len(line.y) // 20 :].mean()), panel.percent, 3) for line in panel.lines},
    )


def thin(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most 240 values: means of neighbours where there are more."""
    if len(values) <= POINTS:
        return values
    edges = np.linspace(0, len(values), POINTS + 1).astype(int)
    means: NDArray[np.float64] = np.add.reduceat(values, edges[:-1]) / np.diff(edges)
    return means


def _path(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    points = [f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True)]
    return "M" + "L".join(points) + ("h.01" if len(points) == 1 else "")  # a lone point becomes a dot


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between ``low`` and ``high``, steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    whole = [float(v) for v in range(math.ceil(low), math.floor(high) + 1)]
    if len(whole) >= 2:
        return whole[:: -(-len(whole) // 5)]
    return [math.log10(v) for v in ticks(10**low, 10**high, 4) if v > 0]


def _number(value: float, percent: bool = False, digits: int = 4) -> str:
    """As short as it can be said."""
    text = f"{100 * value if percent else value:.{digits}g}"
    return text + "\N{NARROW NO-BREAK SPACE}%" if percent else text.replace("e-0", "e-")
