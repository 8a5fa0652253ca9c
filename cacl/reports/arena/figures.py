"""The pictures of a comparison: ranking with intervals, pairs, quality against cost, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cacl.reports.figures import COLOURS, GREY, GROUND, INK, PAPER, RULE, SOFT, hover, new_figure, plain, svg, words

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

_DASHES = ("-", "--", ":")
MOST_CLASSES = 24


@dataclass(frozen=True)
class Track:
    """Quality of a method on its way: ``cost`` rising, ``quality`` in percent, number of its colour."""

    name: str
    cost: Sequence[float]
    quality: Sequence[float]
    number: int


def ranking_svg(rows: Sequence[Mapping[str, Any]], references: Mapping[str, float], measure: str) -> Markup:
    """A dot and its interval a method, a thin mark a seed; what was not learned as lines.

    Args:
        rows: best first: ``name``, ``mean``, ``low``, ``high`` (None: not known), ``by seed``.
        references: name -> percent.
    """
    figure = new_figure(8.2, 1.1 + 0.34 * len(rows))
    axes = figure.subplots()
    plain(axes)
    axes.grid(axis="x", color=RULE)
    axes.set_axisbelow(True)
    heights = {0.0: 0}
    for name, value in sorted(references.items(), key=lambda one: one[1]):
        axes.axvline(value, color=SOFT, linestyle="--", linewidth=0.9)
        level = next(n for n in range(9) if not any(abs(value - x) < 14 and n == m for x, m in heights.items() if x))
        heights[value] = level
        axes.annotate(words(f"{name} {value:.1f}"), (value, -0.6 - 0.55 * level), fontsize=7, color=SOFT, ha="center")
    for y, row in enumerate(rows):
        if row["low"] is not None:
            low, high = max(row["low"], 0.0), min(row["high"], 100.0)
            axes.plot([low, high], [y, y], color=COLOURS[0], linewidth=2.2, solid_capstyle="butt")
        axes.plot(row["by seed"], [y] * len(row["by seed"]), "|", color=SOFT, markersize=9, markeredgewidth=1.1)
        axes.plot([row["mean"]], [y], "o", color=COLOURS[0], markersize=6)
    axes.set_ylim(len(rows) - 0.4, -0.9 - 0.55 * max(heights.values()))
    axes.set_yticks(range(len(rows)), [words(row["name"]) for row in rows])
    axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
    axes.set_xlabel(f"{measure}, %", color=SOFT, fontsize=9)
    return svg(figure, f"{measure} of every method with its interval")


def pairs_svg(order: Sequence[str], pairs: Sequence[Mapping[str, Any]]) -> Markup:
    """Row minus column in points; coloured where they differ after correction, grey where that cannot be told."""
    from matplotlib.collections import PolyCollection

    count = len(order)
    side = float(np.clip(1.8 + 0.46 * count, 3.4, 11))
    figure = new_figure(side + 0.6, side)
    axes = figure.subplots()
    plain(axes)
    axes.set_aspect("equal")
    axes.patch.set(visible=True, facecolor=GROUND)
    largest = max((abs(pair["mean"]) for pair in pairs), default=1.0) or 1.0
    squares, colours, strengths, texts = [], [], [], []
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    for pair in pairs:
        one, other = order.index(pair["first"]), order.index(pair["second"])
        for y, x, sign in ((one, other, 1), (other, one, -1)):
            value = sign * pair["mean"]
            strength = 0.25 + 0.65 * abs(value) / largest
            if pair["different"]:
                squares.append(corners + np.array([x, y]))
                colours.append(COLOURS[int(value < 0)])
                strengths.append(strength)
                texts.append(f"{order[y]} - {order[x]}: {_told(pair, sign)}")
            ink = PAPER if pair["different"] and strength > 0.6 else INK if pair["different"] else SOFT
            axes.text(x, y, f"{value:+.0f}", ha="center", va="center_baseline", fontsize=8, color=ink)
    drawn = PolyCollection(squares, facecolors=colours, alpha=strengths or None, linewidths=0)
    hover(drawn, texts)
    axes.add_collection(drawn)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xticks(range(count), [words(name) for name in order], rotation=90 if count > 4 else 0)
    axes.set_yticks(range(count), [words(name) for name in order])
    axes.tick_params(labelcolor=INK)
    return svg(figure, "Differences of every two methods", style=f"max-width:{100 * side:.0f}px")


def _told(pair: Mapping[str, Any], sign: int) -> str:
    ends = sorted(sign * pair[key] for key in ("low", "high"))
    return f"{sign * pair['mean']:+.1f} points, 95 % interval {ends[0]:+.1f} to {ends[1]:+.1f}"


def tracks_svg(tracks: Sequence[Track], unit: str, *, front: bool) -> Markup:
    """Quality against cost; with ``front``, the points that nothing cheaper equals are joined below the lines."""
    figure = new_figure(8.2, 3.6 + 0.08 * len(tracks))
    axes = figure.subplots()
    plain(axes)
    axes.grid(color=RULE)
    axes.set_axisbelow(True)
    if front and (steps := pareto([(x, y) for one in tracks for x, y in zip(one.cost, one.quality, strict=True)])):
        right = max(one.cost[-1] for one in tracks)
        xs, ys = zip(*steps, strict=True)
        axes.step([*xs, right], [*ys, ys[-1]], where="post", color=GREY, linewidth=6, alpha=0.7, zorder=1)
    for one in tracks:
        colour, dash = COLOURS[one.number % 6], _DASHES[one.number // 6 % 3]
        axes.plot(one.cost, one.quality, color=colour, linestyle=dash, linewidth=1.8, marker="o", markersize=3.5)
    _labels(axes, tracks)
    axes.set_xlabel(unit, color=SOFT, fontsize=9)
    axes.set_ylabel("R@1, one clip a video, %", color=SOFT, fontsize=9)
    axes.set_xlim(left=0)
    return svg(figure, f"Quality against {unit}")


def _labels(axes: Axes, tracks: Sequence[Track]) -> None:
    """Each name at the end of its line, pushed apart."""
    right = max(one.cost[-1] for one in tracks)
    low, high = axes.get_ylim()
    apart = (high - low) * 0.045
    ends = sorted(tracks, key=lambda one: one.quality[-1])
    places = [one.quality[-1] for one in ends]
    for _ in range(50):
        for i in range(1, len(places)):
            if (lack := apart - (places[i] - places[i - 1])) > 0:
                places[i] += lack / 2
                places[i - 1] -= lack / 2
    for one, y in zip(ends, places, strict=True):
        colour = COLOURS[one.number % 6]
        axes.plot([one.cost[-1], 1.02 * right], [one.quality[-1], y], color=colour, linewidth=0.5, alpha=0.6)
        axes.text(1.03 * right, y, words(one.name), color=colour, fontsize=8, va="center_baseline")
    axes.set_xlim(right=1.2 * right)


def pareto(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that no other equals at less or the same cost, cheapest first."""
    found: list[tuple[float, float]] = []
    for cost, quality in sorted(points, key=lambda one: (one[0], -one[1])):
        if not found or quality > found[-1][1]:
            found.append((cost, quality))
    return found


def classes_svg(per_class: Mapping[str, Mapping[str, float]]) -> Markup:
    """R@1 of every class and method, shaded; of many classes those that methods differ most in."""
    from matplotlib.collections import PolyCollection

    methods = list(per_class)
    spread = {name: np.ptp([per_class[m].get(name, 0.0) for m in methods]) for name in per_class[methods[0]]}
    chosen = sorted(sorted(spread, key=lambda name: -spread[name])[:MOST_CLASSES])
    figure = new_figure(2.6 + 0.52 * len(methods), 1.5 + 0.27 * len(chosen))
    axes = figure.subplots()
    plain(axes)
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    cells = [(x, y, per_class[m].get(c)) for y, c in enumerate(chosen) for x, m in enumerate(methods)]
    known = [(x, y, value) for x, y, value in cells if value is not None]
    shade = PolyCollection(
        [corners + np.array([x, y]) for x, y, _ in known],
        facecolors=[COLOURS[0]] * len(known),
        alpha=[0.05 + 0.75 * value / 100 for _, _, value in known],
        linewidths=0,
    )
    hover(shade, [f"{methods[x]}, {chosen[y]}: {value:.1f} %" for x, y, value in known])
    axes.add_collection(shade)
    for x, y, value in known:
        axes.text(
            x, y, f"{value:.0f}", ha="center", va="center_baseline", fontsize=8, color=PAPER if value > 70 else INK
        )
    axes.set_xlim(-0.5, len(methods) - 0.5)
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    axes.set_xticks(range(len(methods)), [words(name) for name in methods], rotation=90 if len(methods) > 4 else 0)
    axes.set_yticks(range(len(chosen)), [words(name) for name in chosen])
    axes.tick_params(labelcolor=INK)
    return svg(figure, "R@1 of each class", style=f"max-width:{100 * figure.get_figwidth():.0f}px")
