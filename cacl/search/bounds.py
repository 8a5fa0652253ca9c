"""Lower and upper ends of every score, from 8 bits or from float32, and why they hold.

u = 2⁻²⁴, all lengths Euclidean, z the query and zᵢ a row as they are in the space, μ the centre of the 8-bit rows.

**8 bits.** zᵢ - μ = aᵢwᵢ + rᵢ, exactly, by the definition of rᵢ (quantise.py). The query is taken in two digits,
z = s₁q₁ + s₂q₂ + e with q of whole numbers and s in float32, exactly, by the definition of e. Hence

    z·zᵢ - z·μ = aᵢ(s₁ q₁·wᵢ + s₂ q₂·wᵢ) + aᵢ e·wᵢ + z·rᵢ.

The first term is what is computed: q·wᵢ by the kernel, exactly (or, beyond 2²⁴, to u), then four operations in float32,
which lose at most 8u of aᵢ‖wᵢ‖(s₁‖q₁‖ + s₂‖q₂‖). The others are at most aᵢ‖wᵢ‖‖e‖ and ‖z‖‖rᵢ‖, by Cauchy and Schwarz.
And ‖wᵢ‖ ≤ 127√d. So the score is within

    ‖z‖‖rᵢ‖ + aᵢt,  t = 127√d (‖e‖ + 16u(s₁‖q₁‖ + s₂‖q₂‖))

of what is computed; 16u in place of 8u pays for forming both ends in float32 (at most 2u of either part, the bound
itself being raised by 2⁻²⁰), and what float64 loses in a score is in ``Sizes.lost``.

**float32.** With y = Wᵀz a score is gᵢ(y·vᵢ - y·m). Summed in any order, float32 loses at most (d + 2)u‖y‖‖vᵢ‖ of y·vᵢ,
the rounding of y included (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., §3.1; second-order terms are
far below the u that is left over); subtracting, multiplying and forming the ends lose at most 8u(‖y‖‖vᵢ‖ + |y·m|). So
gᵢ(d + 16)u(‖y‖‖vᵢ‖ + |y·m|) is a bound; 2⁻⁴⁰‖y‖‖m‖ in it pays for float64's own rounding.

What falls below float32's range is lost: at most 2⁻¹²⁶ an operation, times what it is multiplied with. Added to both.

Legend: n vectors, c of a block, d numbers each, m queries.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.search.int8 import BLOCK, MOST, Kernel
from cacl.search.quantise import Sizes
from cacl.search.rows import Rows
from cacl.search.space import Space

_U = 2.0**-24
_LOST = 2.0**-126
_UP = 1 + 2.0**-20


@dataclass(frozen=True, eq=False)
class Ends:
    """What the scores of some rows are at least and at most.

    Attributes:
        rows: their numbers, int64 ``[c]``, or the first of numbers that follow each other.
        low: float32 ``[m, c]``.
        high: float32 ``[m, c]``.
    """

    rows: Tensor | int
    low: Tensor
    high: Tensor


def from_8_bits(
    z: NDArray[np.float64], kernel: Kernel, packed: Sequence[Any], sizes: Sizes, blocks: Sequence[int]
) -> Iterator[Ends]:
    """Ends of the scores less ``z · μ``.

    Args:
        z: queries in the space, float64 ``[m, d]``.
        packed: all rows, block by block, as ``kernel`` packed them.
        sizes: of all rows.
        blocks: which blocks are asked for.
    """
    digits, steps, factors = _digits(z, kernel)
    asked = kernel.queries(digits)
    count = len(z)
    first, second = (torch.from_numpy(step.astype(np.float32))[:, None] for step in steps)
    length = torch.from_numpy((np.linalg.norm(z, axis=1) * _UP).astype(np.float32))[:, None]
    factor = torch.from_numpy((factors * _UP).astype(np.float32))[:, None]
    for number in blocks:
        rows = slice(number * BLOCK, (number + 1) * BLOCK)
        whole = kernel.products(asked, packed[number])
        scale, lost = torch.from_numpy(sizes.scale[rows]), torch.from_numpy(sizes.lost[rows])
        score = whole[:count].mul_(first).add_(whole[count:].mul_(second)).mul_(scale)
        bound = (length * lost).add_(factor * scale).mul_(_UP).add_(64 * _LOST)
        yield Ends(rows.start, score - bound, score + bound)


def _digits(
    z: NDArray[np.float64], kernel: Kernel
) -> tuple[NDArray[np.float64], tuple[NDArray[np.float32], NDArray[np.float32]], NDArray[np.float64]]:
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
    return np.concatenate(digits), (steps[0], steps[1]), factors


def from_float32(
    z: NDArray[np.float64], rows: Rows, space: Space, sizes: Sizes, numbers: NDArray[np.int64] | None
) -> Iterator[Ends]:
    """Ends of the scores of all rows, or of those with these numbers (rising)."""
    y = space.towards(z)
    y32, shift = y.astype(np.float32), y @ space.mean
    share = (rows.shape[1] + 16) * _U * _UP
    length = np.linalg.norm(y, axis=1)[:, None]
    constant = np.abs(shift)[:, None] + 2.0**-40 * length * np.linalg.norm(space.mean)
    for start in range(0, len(rows) if numbers is None else len(numbers), BLOCK):
        asked = slice(start, start + BLOCK) if numbers is None else numbers[start : start + BLOCK]
        gain = sizes.gain[asked].astype(np.float32)
        score = (y32 @ np.ascontiguousarray(rows[asked]).T - shift[:, None].astype(np.float32)) * gain
        bound = (gain * share * (length * sizes.length[asked] + constant) * _UP).astype(np.float32)
        bound += (gain + 1) * np.float32(_LOST) * (rows.shape[1] + 64)
        yield Ends(
            start if numbers is None else torch.from_numpy(numbers[start : start + BLOCK]),
            torch.from_numpy(score - bound),
            torch.from_numpy(score + bound),
        )
