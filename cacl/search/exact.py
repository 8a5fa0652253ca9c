"""The k nearest by reading every vector once, in NumPy alone: for one question of some thousand vectors.

What is found, and its order, is that of ``Neighbours``.

Legend: n vectors, d numbers each.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cacl.search.rows import CHUNK, Rows, check_numbers
from cacl.search.space import Space


def exact_nearest(
    rows: Rows, space: Space, directions: NDArray[np.float64], k: int, *, within: NDArray[np.bool_]
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Of every query the ``k`` vectors that score most, best first, equal ones lowest number first.

    Args:
        rows: float32 ``[n, d]``.
        space: where they are compared.
        directions: queries in the space, float64 ``[m, d]``.
        k: at least 1.
        within: which may be found, bool ``[n]``.

    Returns:
        Numbers, int64 ``[≤ k]``, and scores, float64 ``[≤ k]``, of each.

    Raises:
        UserError: a vector is not finite; it is named.
    """
    asked = np.flatnonzero(within)
    scores = np.empty((len(directions), len(asked)))
    along = [space.towards(direction) for direction in directions]
    for start in range(0, len(asked), CHUNK):
        numbers = asked[start : start + CHUNK]
        part = rows[numbers].astype(np.float64)
        check_numbers(part, numbers=numbers)
        gain = space.prepared(part)[1]
        part -= space.mean
        for query, y in enumerate(along):  # summed as Neighbours does, so that equal rows are equal
            scores[query, start : start + CHUNK] = (part * y).sum(axis=1) * gain
    best = [np.lexsort((asked, -row))[:k] for row in scores]
    return [(asked[places], row[places]) for places, row in zip(best, scores, strict=True)]
