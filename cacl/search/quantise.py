"""Vectors in 8 bits, with what that loses known for each.

A row z of the space, less a centre near the mean of all (which changes no ranking), is a·w + r: a float, w whole
numbers within ±127, r what is lost. The length of r is kept, rounded up, and with it what a search may conclude from w
is proven (bounds.py).

Legend: n vectors, c of a block, d numbers each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cacl.search.int8 import BLOCK, MOST
from cacl.search.rows import Rows, check_numbers
from cacl.search.space import Space

Floats = NDArray[np.float64]
SMALLEST = 1e-30  # that a row is said to lose at least, see bounds.py
_SAMPLE = 16_384  # vectors that make the centre: any centre is right, one near the mean is best
_AT_ONCE = 4096  # rows computed with in float64; a part of BLOCK
_UP = 1 + 2.0**-20  # for lengths: above what rounding to float32 can take away


@dataclass(frozen=True, eq=False)
class Sizes:
    """What is known of every row.

    Attributes:
        known: float32 ``[2, n]``; a, and ‖r‖ at least, with what float64 may lose of a score, per ‖z‖.
        gain: what a vector less the mean is multiplied with to be z, float64 ``[n]``.
        length: of the vector as stored, at least, float32 ``[n]``.
    """

    known: NDArray[np.float32]
    gain: Floats
    length: NDArray[np.float32]


def joined(parts: Sequence[Sizes]) -> Sizes:
    """The sizes of rows that follow each other."""
    none = np.zeros((2, 0), np.float32)
    return Sizes(
        np.concatenate([none, *(part.known for part in parts)], axis=1),
        np.concatenate([np.zeros(0), *(part.gain for part in parts)]),
        np.concatenate([none[0], *(part.length for part in parts)]),
    )


def centre_of(rows: Rows, space: Space) -> Floats:
    """The mean of some of the rows as they are in the space, evenly taken, float64 ``[d]``."""
    sample = np.asarray(rows[:: max(1, len(rows) // _SAMPLE)], dtype=np.float64)
    if not len(sample) or not np.isfinite(sample).all():  # a vector that is not finite is refused by name later
        return np.zeros(rows.shape[1])
    mean: Floats = space.prepared(sample)[0].mean(axis=0)
    return mean


def blocks(rows: Rows, space: Space, centre: Floats) -> Iterator[tuple[NDArray[np.int8], Sizes]]:
    """All rows in 8 bits, ``BLOCK`` at a time: w, int8 ``[c, d]``, and their sizes.

    Raises:
        UserError: a vector is not finite.
    """
    for start in range(0, len(rows), BLOCK):
        end = min(start + BLOCK, len(rows))
        parts = [_part(rows[i : min(i + _AT_ONCE, end)], space, centre, i) for i in range(start, end, _AT_ONCE)]
        yield np.concatenate([whole for whole, _ in parts]), joined([sizes for _, sizes in parts])


def _part(rows: Rows, space: Space, centre: Floats, first: int) -> tuple[NDArray[np.int8], Sizes]:
    part = np.asarray(rows, dtype=np.float64)
    check_numbers(part, first=first)
    length = _lengths(part)
    part, gain = space.prepared(part)
    part -= centre
    scale = (np.abs(part).max(axis=1) / MOST).astype(np.float32)
    whole = part / np.where(scale > 0, scale, 1)[:, None]
    np.clip(np.rint(whole, out=whole), -MOST, MOST, out=whole)
    part -= whole * scale.astype(np.float64)[:, None]
    lost = _lengths(part) + _rounding(gain, length, space, centre) + SMALLEST
    return whole.astype(np.int8), Sizes(np.stack([scale, _at_least(lost)]), gain, _at_least(length))


def _rounding(gain: Floats, length: Floats, space: Space, centre: Floats) -> Floats:
    """What float64 loses of a score at most, per ‖z‖: a sum of d products loses at most d·2⁻⁵² of their lengths."""
    stretch = 1.0 if space.matrix is None else float(np.linalg.norm(space.matrix))
    reach = gain * (length + np.linalg.norm(space.mean)) * stretch + np.linalg.norm(centre)
    rounding: Floats = (len(centre) + 16) * 2.0**-52 * reach
    return rounding


def _lengths(part: Floats) -> Floats:
    lengths: Floats = np.sqrt((part * part).sum(axis=1))
    return lengths


def _at_least(lengths: Floats) -> NDArray[np.float32]:
    return (lengths * _UP).astype(np.float32)
