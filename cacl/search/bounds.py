"""About what every row scores, and by how much at most that is wrong, from 8 bits or from float32; and why.

u = 2⁻²⁴, all lengths Euclidean, z the query and zᵢ a row as they are in the space, μ the centre of the 8-bit rows.

**8 bits.** zᵢ - μ = aᵢwᵢ + rᵢ, exactly, by the definition of rᵢ (quantise.py). The query is taken in two digits,
z = s₁q₁ + s₂q₂ + e with q of whole numbers and s in float32, exactly, by the definition of e. Hence

    z·zᵢ - z·μ = aᵢ(s₁ q₁·wᵢ + s₂ q₂·wᵢ) + aᵢ e·wᵢ + z·rᵢ.

The first term is what is computed: q·wᵢ by the kernel, exactly (or, beyond 2²⁴, to u), then four operations in float32,
which lose at most 8u of aᵢ‖wᵢ‖(s₁‖q₁‖ + s₂‖q₂‖). The others are at most aᵢ‖wᵢ‖‖e‖ and ‖z‖‖rᵢ‖, by Cauchy and Schwarz.
And ‖wᵢ‖ ≤ 127√d. So the score is within

    ‖z‖‖rᵢ‖ + aᵢt,  t = 127√d (‖e‖ + 16u(s₁‖q₁‖ + s₂‖q₂‖))

of what is computed; 16u in place of 8u pays for forming ends in float32 (2u of either, the bound itself being raised by
2⁻¹⁹), and what float64 loses in a score is in ‖rᵢ‖ as it is stored.

**float32.** With y = Wᵀz a score is gᵢ(y·vᵢ - y·m). Summed in any order, float32 loses at most (d + 2)u‖y‖‖vᵢ‖ of y·vᵢ,
the rounding of y included (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., §3.1; second-order terms
are far below the u that is left over); subtracting, multiplying and forming the ends lose at most 8u(‖y‖‖vᵢ‖ + |y·m|).
So gᵢ(d + 16)u(‖y‖‖vᵢ‖ + |y·m|) is a bound; 2⁻⁴⁰‖y‖‖m‖ in it pays for float64's own rounding.

What falls below float32's range is lost: at most 2⁻¹²⁶ an operation, times what it is multiplied with later. That is in
both: in the first as ‖rᵢ‖ is never stored as less than 10⁻³⁰, and 10⁻⁶ is added to ‖z‖.

Legend: n vectors, c of a block, d numbers each, m queries.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.search.int8 import BLOCK, MOST, Kernel, give_back
from cacl.search.quantise import Sizes
from cacl.search.rows import Rows
from cacl.search.space import Space

_U = 2.0**-24
_LOST = 2.0**-126
_UP = 1 + 2.0**-20
_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class Near:
    """About what some rows score.

    Attributes:
        rows: their numbers, int64 ``[c]``, or the first of numbers that follow each other.
        score: float32 ``[m, c]``.
        factors: float32 ``[m, j]``; with
        values: float32 ``[j, c]``, which are not negative, the sum of products is by how much a score is wrong at most.
        largest: at least each of ``values``, float32 ``[j]``.
    """

    rows: Tensor | int
    score: Tensor
    factors: Tensor
    values: Tensor
    largest: Tensor

    def bound(self, query: int, places: Tensor | None = None) -> Tensor:
        """By how much the scores of one query are wrong at most, all or those at ``places``; float32."""
        values = self.values if places is None else self.values[:, places]
        return (self.factors[query, :, None] * values).sum(dim=0)

    def loosest(self, query: int) -> float:
        """At least every ``bound``."""
        return float((self.factors[query] * self.largest).sum()) * _UP

    def numbers(self, places: Tensor) -> Tensor:
        """Which rows are at these places."""
        return places + self.rows if isinstance(self.rows, int) else self.rows[places]


class Rows8:
    """All rows in 8 bits, packed for the kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._packed: list[Any] = []
        self._known = torch.empty(2, 0)
        self._largest: list[Tensor] = []

    def append(self, whole: NDArray[np.int8]) -> None:
        """The next block, int8 ``[c, d]``."""
        self._packed.append(self._kernel.pack(whole))

    def close(self, sizes: Sizes) -> None:
        """Sizes of all rows, after the last block."""
        self._known = torch.from_numpy(sizes.known)
        starts = range(0, self._known.shape[1], BLOCK)
        self._largest = [self._known[:, i : i + BLOCK].max(dim=1).values for i in starts]
        give_back()

    def near(self, z: NDArray[np.float64], within: NDArray[np.bool_] | None) -> Iterator[Near]:
        """Scores less ``z · μ``.

        Args:
            z: queries in the space, float64 ``[m, d]``.
            within: blocks where nobody is asked for are left out; those not asked for score minus infinity.
        """
        count = len(z)
        digits, steps, lost = _digits(z, self._kernel)
        queries = self._kernel.queries(digits)
        first, second = (torch.from_numpy(step)[:, None] for step in steps)
        factors = np.stack([lost, np.linalg.norm(z, axis=1) + _LEAST], axis=1)
        weights = torch.from_numpy((factors * _UP**2).astype(np.float32))
        for place, packed in enumerate(self._packed):
            rows = slice(place * BLOCK, (place + 1) * BLOCK)
            if within is not None and not within[rows].any():
                continue
            known = self._known[:, rows]
            whole = self._kernel.products(queries, packed)
            score = torch.addcmul(whole[:count] * first, whole[count : 2 * count], second).mul_(known[0])
            if within is not None:
                score.masked_fill_(torch.from_numpy(~within[rows]), -torch.inf)
            yield Near(rows.start, score, weights, known, self._largest[place])


def _digits(
    z: NDArray[np.float64], kernel: Kernel
) -> tuple[NDArray[np.float64], list[NDArray[np.float32]], NDArray[np.float64]]:
    """Queries as two digits, all first ones before all second ones ``[2m, d]``; s₁ and s₂, and t, ``[m]`` each."""
    left = z.copy()
    digits, steps = [], []
    lost = np.zeros(len(z))
    for _ in range(2):
        step = (np.abs(left).max(axis=1) / kernel.high).astype(np.float32)
        step[step == 0] = 1
        digit = np.clip(np.rint(left / step[:, None]), kernel.low, kernel.high)
        left -= digit * step[:, None].astype(np.float64)
        lost += step * np.linalg.norm(digit, axis=1)
        digits.append(digit)
        steps.append(step)
    factors = MOST * np.sqrt(z.shape[1]) * (np.linalg.norm(left, axis=1) + 16 * _U * lost)
    return np.concatenate(digits), steps, factors


def from_float32(
    z: NDArray[np.float64], rows: Rows, space: Space, sizes: Sizes, numbers: NDArray[np.int64] | None
) -> Iterator[Near]:
    """Scores of all rows, or of those with these numbers (rising)."""
    y = space.towards(z)
    y32, shift = y.astype(np.float32), y @ space.mean
    share = (rows.shape[1] + 16) * _U
    length = np.linalg.norm(y, axis=1)
    constant = np.abs(shift) + 2.0**-40 * length * np.linalg.norm(space.mean)
    lost = _LOST * (rows.shape[1] + 64)
    factors = np.stack([share * length, share * constant + lost, np.full(len(z), lost)], axis=1)
    weights = torch.from_numpy((factors * _UP**2).astype(np.float32))
    for start in range(0, len(rows) if numbers is None else len(numbers), BLOCK):
        asked = slice(start, start + BLOCK) if numbers is None else numbers[start : start + BLOCK]
        gain = sizes.gain[asked].astype(np.float32)
        score = (y32 @ np.ascontiguousarray(rows[asked]).T - shift[:, None].astype(np.float32)) * gain
        values = torch.from_numpy(np.stack([gain * sizes.length[asked], gain, np.ones_like(gain)]))
        which = start if numbers is None else torch.from_numpy(numbers[start : start + BLOCK])
        yield Near(which, torch.from_numpy(score), weights, values, values.max(dim=1).values)
