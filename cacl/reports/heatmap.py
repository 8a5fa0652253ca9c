"""Matrices as squares: confusions, as strong as the share of the row, and attention, above and below uniform."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cacl.reports.figures import COLOURS, GROUND, INK, PAPER, SOFT, hover, new_figure, plain, svg, title, words

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COUNTS_UP_TO = 30  # rows; with more, the counts would not be legible
_NAMES_UP_TO = 110
_LONGEST = 22  # characters of a name


def confusion_figure(counts_KK: NDArray[np.int64], names: Sequence[str], *, what: str, heading: str = "") -> Figure:
    """How often the true class (row) was taken for the predicted one (column).

    Args:
        counts_KK: int64.
        names: K names.
        what: what is predicted, for the texts on hovering: ``class``, or a task.
        heading: above it.
    """
    count = len(names)
    if counts_KK.shape != (count, count):
        raise ValueError(f"{counts_KK.shape} counts for {count} names")
    totals_K1 = np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    share_KK = counts_KK / totals_K1
    texts = [
        [f"{what} {names[y]} taken for {names[x]}: {counts_KK[y, x]} of {totals_K1[y, 0]}" for x in range(count)]
        for y in range(count)
    ]
    side = float(np.clip(1.6 + 0.25 * count, 3.2, 14))
    figure = new_figure(side, side)
    axes = figure.subplots()
    _squares(axes, share_KK, texts)
    size = 8.0 if count <= 16 else 7.0 if count <= 40 else 4.0
    if count <= _COUNTS_UP_TO:
        for y, x in zip(*np.nonzero(counts_KK), strict=True):
            colour = PAPER if share_KK[y, x] > 0.62 else INK
            number = str(counts_KK[y, x])
            axes.text(x, y, number, ha="center", va="center_baseline", color=colour, fontsize=size)
    if count <= _NAMES_UP_TO:
        short = [words(name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…") for name in names]
        turned = 90 if max(map(len, short)) > 2 else 0
        axes.set_xticks(range(count), short, rotation=turned, fontsize=size)
        axes.set_yticks(range(count), short, fontsize=size)
    axes.set_xlabel("predicted", color=SOFT, fontsize=size + 1)
    axes.set_ylabel("true", color=SOFT, fontsize=size + 1)
    title(axes, heading)
    return figure


def confusion_svg(counts_KK: NDArray[np.int64], names: Sequence[str], *, what: str) -> Markup:
    """The same for a page; small matrices are not blown up."""
    figure = confusion_figure(counts_KK, names, what=what)
    return svg(figure, "true by predicted", style=_between(figure))


def attention_figure(weights_LL: NDArray[np.float64], names: Sequence[str], *, heading: str = "") -> Figure:
    """Attention in multiples of looking everywhere alike: one colour above 1, another below, on a logarithmic scale.

    Below it the row of [CLS].

    Args:
        weights_LL: row = the token that looks, rows sum to 1.
        names: ``CLS``, ``clip 1`` … ``twin 1`` …
        heading: above it.
    """
    size = len(names)
    if weights_LL.shape != (size, size) or size < 2:
        raise ValueError(f"attention of shape {weights_LL.shape} for {size} tokens")
    relative_LL = weights_LL * size
    distance_LL = np.log(np.maximum(relative_LL, 1e-6))
    reach = max(math.log(1.5), float(np.quantile(np.abs(distance_LL[1:]), 0.97)))
    texts = [[f"{a} looks at {b}: {relative_LL[y, x]:.2f} times" for x, b in enumerate(names)]
             for y, a in enumerate(names)]  # fmt: skip
    figure = new_figure(5.4, 6.4)
    upper, lower = figure.subplots(2, 1, height_ratios=[6, 1], sharex=True)
    _squares(upper, np.clip(distance_LL / reach, -1, 1), texts)
    upper.set_aspect("auto")
    parts = [name.split()[0] for name in names]
    starts = [i for i in range(1, size) if parts[i] != parts[i - 1]]
    for start in starts:
        upper.axhline(start - 0.5, color=INK, linewidth=1.2)
        upper.axvline(start - 0.5, color=INK, linewidth=1.2)
    places = [i for i, name in enumerate(names) if i == 0 or name.split()[-1] == "1" or not int(name.split()[-1]) % 4]
    shown = [names[i] if i == 0 else names[i].split()[-1] for i in places]
    upper.set_xticks(places, shown)
    upper.set_yticks(places, shown)
    upper.tick_params(labelbottom=True, labelsize=8)
    blocks = ", ".join(parts[start] for start in starts)
    upper.set_ylabel(f"token that looks: {blocks}", color=SOFT, fontsize=9)
    lower.set_xlabel(f"looked at: {blocks}", color=SOFT, fontsize=9)
    title(upper, heading)
    plain(lower)
    colours = [SOFT if i == 0 else COLOURS[sum(i >= start for start in starts) - 1] for i in range(size)]
    lower.bar(np.arange(size), relative_LL[0], color=colours, width=0.8)
    lower.axhline(1.0, color=INK, linewidth=0.9, linestyle="--")
    lower.set_ylabel("[CLS] looks", color=SOFT, fontsize=9)
    return figure


def attention_svg(weights_LL: NDArray[np.float64], names: Sequence[str]) -> Markup:
    """The same for a page."""
    figure = attention_figure(weights_LL, names)
    return svg(figure, "Attention of each token to each", style=_between(figure))


def _between(figure: Figure) -> str:
    """CSS: neither blown up on a wide page nor illegible on a phone, which can scroll."""
    return f"max-width:{110 * figure.get_figwidth():.0f}px;min-width:{45 * figure.get_figwidth():.0f}px"


def _squares(axes: Axes, strength_KK: NDArray[Any], texts: Sequence[Sequence[str]]) -> None:
    """A square an entry that is not 0, as opaque as it is strong; entries below 0 in another colour."""
    from matplotlib.collections import PolyCollection

    count = len(strength_KK)
    plain(axes)
    axes.set_aspect("equal")
    axes.patch.set(visible=True, facecolor=GROUND)
    axes.set_xlim(-0.5, count - 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    places = list(zip(*np.nonzero(strength_KK), strict=True))
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])
    squares = PolyCollection(
        [corners + np.array([x, y]) for y, x in places],
        facecolors=[COLOURS[int(strength_KK[place] < 0)] for place in places],
        alpha=[abs(float(strength_KK[place])) for place in places],
        linewidths=0,
    )
    hover(squares, [texts[y][x] for y, x in places])
    axes.add_collection(squares)
