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
    rows: Rows, space: Space, direction: NDArray[np.float64], k: int, *, within: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Numbers of the ``k`` vectors that score most, best first, equal ones lowest number first; int64 ``[≤ k]``.

    Args:
        rows: float32 ``[n, d]``.
        space: where they are compared.
        direction: a query in the space, float64 ``[d]``.
        k: at least 1.
        within: which may be found, bool ``[n]``.

    Raises:
        UserError: a vector is not finite.
    """
    asked = np.flatnonzero(within)
    scores = np.empty(len(asked))
    y = space.towards(direction)
    for start in range(0, len(asked), CHUNK):
        numbers = asked[start : start + CHUNK]
        part = rows[numbers].astype(np.float64)
        check_numbers(part)
        gain = space.prepared(part)[1]
        part -= space.mean
        part *= y
        scores[start : start + CHUNK] = part.sum(axis=1) * gain
    found: NDArray[np.int64] = asked[np.lexsort((asked, -scores))[:k]]
    return found
