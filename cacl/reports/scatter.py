"""Points of videos in two dimensions for the report, one picture a network, coloured by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, EDGE = 340, 300, 14
SHAPES = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",  # a dot
    "m-2.7-2.7h5.4v5.4h-5.4z",
    "m0-3.6 3.3 5.8h-6.6z",
    "m0-3.7 3.7 3.7-3.7 3.7-3.7-3.7z",
)
_COLOURS = 6
_MOST_POINTS = 1000  # more cannot be told apart


@dataclass(frozen=True)
class Point:
    """A mark at a place in SVG units; ``colour`` None is grey."""

    path: str
    colour: int | None
    title: str


@dataclass(frozen=True)
class Scatter:
    """Pictures and what their colours mean.

    Attributes:
        panels: name of the network, its two axes, its points (``viewBox 0 0 340 300``).
        legend: label, colour, and the mark around 0, 0.
        shown: how many videos are drawn, ``of`` how many.
    """

    panels: tuple[tuple[str, tuple[str, str], tuple[Point, ...]], ...]
    legend: tuple[tuple[str, int, str], ...]
    shown: int
    of: int


def scatter(
    points: Mapping[str, NDArray[np.float64]],
    axes: Mapping[str, Sequence[str]],
    labels: Sequence[str | None],
    titles: Sequence[str],
) -> Scatter:
    """Scale points into their boxes.

    Args:
        points: name of a network -> float64 ``[V, 2]``.
        axes: name of a network -> what its two axes are.
        labels: of each video. Up to 24 have a colour and a mark each; of more, 24 evenly picked have.
        titles: shown on hovering, one a video.
    """
    known = sorted({label for label in labels if label is not None})
    most = _COLOURS * len(SHAPES)
    if len(known) > most:
        known = [known[i] for i in np.linspace(0, len(known) - 1, most).round().astype(int)]
    place = {label: number for number, label in enumerate(known)}
    count = len(labels)
    chosen = np.linspace(0, count - 1, min(count, _MOST_POINTS)).round().astype(int).tolist()
    panels = []
    for name, points_V2 in points.items():
        xy_V2 = _boxed(points_V2)
        marks = []
        for i in chosen:
            number = place.get(labels[i] or "")
            shape = SHAPES[0 if number is None else number // _COLOURS]
            title = titles[i] if labels[i] is None else f"{labels[i]}: {titles[i]}"
            path = f"M{xy_V2[i, 0]:.1f} {xy_V2[i, 1]:.1f}{shape}"
            marks.append(Point(path, None if number is None else number % _COLOURS, title))
        first, second = axes[name]
        panels.append((name, (str(first), str(second)), tuple(marks)))
    legend = tuple((label, n % _COLOURS, f"M5 5{SHAPES[n // _COLOURS]}") for label, n in place.items())
    return Scatter(tuple(panels), legend, len(chosen), count)


def _boxed(points_V2: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each axis from edge to edge, the second one upwards."""
    low_2, high_2 = points_V2.min(axis=0), points_V2.max(axis=0)
    share_V2 = (points_V2 - low_2) / np.where(high_2 > low_2, high_2 - low_2, 1.0)
    share_V2[:, 1] = 1 - share_V2[:, 1]
    boxed_V2: NDArray[np.float64] = EDGE + share_V2 * (np.array([WIDTH, HEIGHT]) - 2 * EDGE)
    return boxed_V2
