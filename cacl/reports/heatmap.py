"""Matrices for the report as squares in the page's colours: confusions (share of a row) and attention (above, below 1).

Drawn as SVG, so that they follow light and dark mode and stay sharp, with the numbers to be read on hovering.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_COUNTS_UP_TO = 30  # rows; with more, the counts would not be legible
_NAMES_UP_TO = 60
_LONGEST = 18  # characters of a name


@dataclass(frozen=True)
class Square:
    """One entry: column ``x``, row ``y``, ``strength`` 0 … 1, ``below`` for values under 1, a text in it, a title."""

    x: int
    y: int
    strength: float
    below: bool
    text: str
    title: str


@dataclass(frozen=True)
class Heatmap:
    """What the page draws.

    Attributes:
        squares: entries that differ visibly from nothing.
        names: of the rows and of the columns, empty where there is no room.
        side: of a square, in SVG units.
        margin: for the names, in SVG units.
        turned: whether the columns' names are written upwards.
        down: what the rows are.
        across: what the columns are.
        parts: lines before these rows and columns, with the name of what begins there.
    """

    squares: tuple[Square, ...]
    names: tuple[str, ...]
    side: int
    margin: int
    turned: bool
    down: str
    across: str
    parts: tuple[tuple[int, str], ...] = ()

    @property
    def extent(self) -> int:
        """Of the matrix, in SVG units."""
        return self.side * len(self.names)


def confusion_map(counts_KK: NDArray[np.int64], names: Sequence[str], *, what: str) -> Heatmap:
    """Counts, each square as dark as its share of its row.

    Args:
        counts_KK: how often the true class (row) was taken for the predicted one (column).
        names: K names.
        what: what is told, for the titles: ``class``, ``degree``.
    """
    count = len(names)
    if counts_KK.shape != (count, count):
        raise ValueError(f"{counts_KK.shape} counts for {count} names")
    totals_K1 = np.maximum(counts_KK.sum(axis=1, keepdims=True), 1)
    share_KK = counts_KK / totals_K1
    squares = []
    for y, x in zip(*np.nonzero(counts_KK), strict=True):
        n = int(counts_KK[y, x])
        title = f"{what} {names[y]} taken for {names[x]}: {n} of {int(totals_K1[y, 0])}"
        text = str(n) if count <= _COUNTS_UP_TO else ""
        squares.append(Square(int(x), int(y), round(float(share_KK[y, x]), 3), False, text, title))
    short = [name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…" for name in names]
    longest = max(map(len, short)) if count <= _NAMES_UP_TO else 0
    side = 28 if count <= 10 else 22 if count <= 16 else 17 if count <= _COUNTS_UP_TO else 10
    size = min(side - 3, 11)
    return Heatmap(
        tuple(squares),
        tuple(short) if longest else ("",) * count,
        side,
        margin=12 + round(longest * 0.56 * size),
        turned=longest > 2,
        down="true",
        across="predicted",
    )


def attention_map(weights_LL: NDArray[np.float64], names: Sequence[str]) -> Heatmap:
    """Attention in multiples of looking everywhere alike: one colour above 1, another below, on a logarithmic scale.

    Args:
        weights_LL: row = the token that looks, rows sum to 1.
        names: ``CLS``, ``clip 1`` … ``twin 1`` …
    """
    size = len(names)
    if weights_LL.shape != (size, size) or size < 2:
        raise ValueError(f"attention of shape {weights_LL.shape} for {size} tokens")
    distance_LL = np.log(np.maximum(weights_LL * size, 1e-6))
    reach = max(math.log(1.5), float(np.quantile(np.abs(distance_LL[1:]), 0.97)))
    squares = []
    for y in range(size):
        for x in range(size):
            strength = min(1.0, abs(distance_LL[y, x]) / reach)
            title = f"{names[y]} looks at {names[x]}: {weights_LL[y, x] * size:.2f} times"
            squares.append(Square(x, y, round(strength, 2), bool(distance_LL[y, x] < 0), "", title))
    words = [name.split() for name in names]
    parts = tuple((i, words[i][0]) for i in range(1, size) if words[i][0] != words[i - 1][0])
    shown = tuple(
        word[0] if i == 0 else word[-1] if word[-1] == "1" or (word[-1].isdigit() and int(word[-1]) % 4 == 0) else ""
        for i, word in enumerate(words)
    )
    blocks = ", ".join(part for _, part in parts)
    return Heatmap(tuple(squares), shown, 10, 24, False, f"token that looks: {blocks}", f"looked at: {blocks}", parts)
