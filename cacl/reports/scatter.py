"""Points of videos in two dimensions, coloured by label: one picture a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cacl.evaluation.projection import Projection
from cacl.reports.figures import COLOURS, GREY, SOFT, hover, new_figure, plain, save_figure, svg, title, words

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

MARKS = "os^D"
SIGNS = "●■▲◆"  # the same in a line of text
MOST_LABELS = len(COLOURS) * len(MARKS)
_MOST_POINTS = 1000  # more are a blot


@dataclass(frozen=True)
class Scatter:
    """The map of features on a page.

    Attributes:
        panels: name of the network, its picture.
        legend: label, number of its colour, and its mark.
        shown: how many videos are drawn, ``of`` how many.
    """

    panels: tuple[tuple[str, Markup], ...]
    legend: tuple[tuple[str, int, str], ...]
    shown: int
    of: int


def scatter(projections: Mapping[str, Projection], labels: Sequence[str | None], titles: Sequence[str]) -> Scatter:
    """The pictures of a page.

    Args:
        projections: name of a network -> its points.
        labels: of each video. Up to 24 have a colour and a mark each; of more, 24 evenly picked have, and the others
            are grey.
        titles: shown on hovering, one a video.
    """
    places = shown_labels(labels)
    chosen = np.linspace(0, len(labels) - 1, min(len(labels), _MOST_POINTS)).round().astype(np.int64)
    panels = []
    for name, projection in projections.items():
        figure = new_figure(4.7, 4.2)
        draw_points(figure.subplots(), projection, labels, titles, chosen=chosen)
        panels.append((name, svg(figure, f"Map of features, {name}")))
    legend = [(label, n % len(COLOURS), SIGNS[n // len(COLOURS)]) for label, n in places.items()]
    return Scatter(tuple(panels), tuple(legend), len(chosen), len(labels))


def draw_scatter(projections: Mapping[str, Projection], labels: Sequence[str | None], path: Path) -> None:
    """Write ``features.png``: the same videos under one or several networks, side by side; arguments as above."""
    shown = shown_labels(labels)
    figure = new_figure(5.2 * len(projections), 5.4 + 0.2 * -(-len(shown) // 5))
    panels = figure.subplots(1, len(projections), squeeze=False)[0]
    for axes, (name, projection) in zip(panels, projections.items(), strict=True):
        draw_points(axes, projection, labels, [""] * len(labels))
        title(axes, name)
    if shown:
        handles, names = panels[0].get_legend_handles_labels()
        columns = min(5, len(names))
        figure.legend(handles, names, loc="outside lower center", ncols=columns, fontsize=8, frameon=False)
    save_figure(figure, path)


def draw_points(
    axes: Axes,
    projection: Projection,
    labels: Sequence[str | None],
    titles: Sequence[str],
    *,
    chosen: NDArray[np.int64] | None = None,
) -> None:
    """Draw the chosen videos, by default all."""
    places = shown_labels(labels)
    every = np.arange(len(labels)) if chosen is None else chosen
    numbers = np.array([places.get(labels[i] or "", -1) for i in every])
    for number, label in [(-1, "other videos" if places else "videos"), *((n, label) for label, n in places.items())]:
        own = every[numbers == number]
        if not len(own):
            continue
        colour = (GREY if places else COLOURS[0]) if number < 0 else COLOURS[number % len(COLOURS)]
        x, y = projection.points[own].T
        name = words(label).lstrip("_") or " "
        marks = axes.scatter(x, y, s=22, color=colour, marker=MARKS[max(number, 0) // len(COLOURS)], linewidths=0.0,
                             alpha=0.9, label=name)  # fmt: skip
        hover(marks, [titles[i] if labels[i] is None else f"{labels[i]}: {titles[i]}" for i in own])
    plain(axes)
    axes.set_xlabel(words(projection.axes[0]), fontsize=9, color=SOFT)
    axes.set_ylabel(words(projection.axes[1]), fontsize=9, color=SOFT)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.04)


def shown_labels(labels: Sequence[str | None]) -> dict[str, int]:
    """The labels that have a colour and a mark, and which."""
    known = sorted({label for label in labels if label is not None})
    if len(known) > MOST_LABELS:
        known = [known[i] for i in np.linspace(0, len(known) - 1, MOST_LABELS).round().astype(int)]
    return {label: number for number, label in enumerate(known)}
