"""The exact k nearest of up to some million vectors, in milliseconds: 8 bits say who can be among them, floats who is.

Every score is first known to within a bound (bounds.py proves it), so to lie between two ends. With the k-th largest
lower end T, whoever's upper end is below T is not among the k: k others are better. The rest, some tens usually, are
scored exactly, in float64, the most promising first, until the k-th exact score is above the upper end of everyone
left. So the result is that of a full scan, equal scores in order of their numbers included, whatever the vectors are;
the bounds only decide how much work it is. Where 8 bits leave too many in question, float32 over all rows is next
(``Found.way`` says so), and whom that leaves is scored exactly, everyone if need be.

Legend: n vectors, d numbers each, m queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cacl.errors import UserError
from cacl.search.bounds import Near, Rows8, from_float32
from cacl.search.copy_file import read_copy, write_copy
from cacl.search.int8 import usable
from cacl.search.quantise import Sizes, blocks, centre_of, joined
from cacl.search.rows import Rows, as_queries, fingerprint, open_rows
from cacl.search.shortlist import Shortlist
from cacl.search.space import Space

Way = Literal["8 bits", "float32"]
Mask = NDArray[np.bool_]
_QUERIES = 16  # at a time
_IN_QUESTION = 32  # one in so many rows may be, or 2048; beyond, reading all in float32 costs less than scoring them
_FEW = 8  # where at most one in so many rows is asked for, these alone are read
_FIRST, _NEXT = 64, 2048  # rows scored exactly at a time


@dataclass(frozen=True, eq=False)
class Found:
    """The nearest of one query, best first; equal scores lowest number first.

    Attributes:
        rows: which vectors, int64 ``[≤ k]``.
        scores: of the space, float64 ``[≤ k]``.
        scored: how many vectors were scored exactly to know this.
        way: what told the others apart; float32 is a full scan (of those asked for).
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    scored: int
    way: Way


class Neighbours:
    """Vectors that are searched again and again. Searches may run in several threads at once.

    Attributes:
        rows: the vectors, float32 ``[n, d]``.
        space: where they are compared.
        kept: whether the search copy lies in its file, so that the next one opens faster.
    """

    def __init__(
        self,
        vectors: Path | NDArray[np.float32],
        *,
        space: Space | None = None,
        copy: Path | None = None,
        version: str | None = None,
        few: bool = False,
    ) -> None:
        """Open the vectors; the first time, make their search copy.

        Args:
            vectors: a ``.npy`` file, which is mapped, or an array; float32 ``[n, d]``. Must not change meanwhile.
            space: cosines from the archive's mean where ``None``.
            copy: where the search copy is kept; read if it fits, else written. Only in memory where ``None``, and
                where the disk is full or read-only.
            version: a word that changes with the vectors; where ``None``, their fingerprint, which reads them all.
            few: for some searches only: with a search copy that is there it opens at once, and every search is a full
                scan in float32.

        Raises:
            UserError: the file is missing, damaged or of another kind, or a vector is not finite.
        """
        self.rows: Rows = open_rows(vectors)
        self.space = space or Space.fit(self.rows)
        if len(self.space.mean) != self.rows.shape[1]:
            raise UserError(
                f"the space is of {len(self.space.mean)} numbers, the vectors are of {self.rows.shape[1]}: "
                "they belong to different indexes; make the index anew."
            )
        self._kernel = usable(self.rows.shape[1])
        self._rows8: Rows8 | None = None
        self.kept = copy is not None and self._open_copy(copy, version, few)
        if not self.kept:
            self._quantise(few)

    def _open_copy(self, file: Path, version: str | None, few: bool) -> bool:
        made_of = f"{version or fingerprint(self.rows)} {self.space.fingerprint()}"
        if self._read_copy(file, made_of, few):
            return True
        try:
            write_copy(file, self.rows, self.space, made_of=made_of)
        except UserError as error:
            if isinstance(error.__cause__, OSError):  # a full or read-only disk keeps nobody from searching
                return False
            raise
        return self._read_copy(file, made_of, few)

    def _read_copy(self, file: Path, made_of: str, few: bool) -> bool:
        self._rows8 = None
        shape = (self.rows.shape[0], self.rows.shape[1])
        found = read_copy(file, shape=shape, made_of=made_of, take=None if few else self._pack)
        if found is not None:
            self._close(*found)
        return found is not None

    def _quantise(self, few: bool) -> None:
        self._rows8 = None
        centre = centre_of(self.rows, self.space)
        sizes = []
        for whole, known in blocks(self.rows, self.space, centre):
            sizes.append(known)
            if not few:
                self._pack(whole)
        self._close(joined(sizes), centre)

    def _pack(self, whole: NDArray[np.int8]) -> None:
        if self._kernel is not None:
            self._rows8 = self._rows8 or Rows8(self._kernel)
            self._rows8.append(whole)

    def _close(self, sizes: Sizes, centre: NDArray[np.float64]) -> None:
        self._sizes, self._centre = sizes, centre
        if self._rows8 is not None:
            self._rows8.close(sizes)

    def __len__(self) -> int:
        return len(self.rows)

    def search(
        self,
        like: ArrayLike,
        k: int,
        *,
        unlike: ArrayLike | None = None,
        floor: float | None = None,
        within: ArrayLike | None = None,
    ) -> Found:
        """The ``k`` nearest of one query.

        Args:
            like: the query, ``[d]``, or several examples, ``[m, d]``, of the vectors' kind (not yet in the space).
            k: at least 1; fewer are found where there are fewer.
            unlike: examples against, the same.
            floor: least score.
            within: which vectors may be found: bool ``[n]``, or their numbers.

        Raises:
            UserError: a query of another width or not finite, or ``within`` that does not fit.
        """
        return self.along(self.space.direction(like, unlike)[None], k, floor=floor, within=within)[0]

    def search_many(
        self, queries: ArrayLike, k: int, *, floor: float | None = None, within: ArrayLike | None = None
    ) -> list[Found]:
        """As ``search``, for every row of ``queries``, ``[m, d]``; faster than one after the other."""
        table = as_queries(queries, self.rows.shape[1])
        return self.along(self.space.prepared(table)[0], k, floor=floor, within=within)

    def along(
        self, directions: NDArray[np.float64], k: int, *, floor: float | None = None, within: ArrayLike | None = None
    ) -> list[Found]:
        """As ``search_many``, for queries that are in the space already: float64 ``[m, d]``."""
        if k < 1:
            raise UserError(f"k is {k}: ask for at least 1 neighbour.")
        mask = None if within is None else _mask(within, len(self.rows))
        least = -np.inf if floor is None else floor
        parts = (directions[i : i + _QUERIES] for i in range(0, len(directions), _QUERIES))
        return [found for z in parts for found in self._search(z, k, least, mask)]

    def _search(self, z: NDArray[np.float64], k: int, floor: float, within: Mask | None) -> list[Found]:
        asked = len(self.rows) if within is None else int(within.sum())
        if self._rows8 is None or asked * _FEW <= len(self.rows):
            return self._scan(z, k, floor, within)
        shifts = (z @ self._centre).tolist()
        most = max(2048, asked // _IN_QUESTION, 2 * k)
        lists = [Shortlist(k, floor=floor - shift, most=most) for shift in shifts]
        _fill(lists, self._rows8.near(z, within))
        return [
            self._scan(z[i : i + 1], k, floor, within)[0]
            if one.overfull
            else self._exactly(z[i], one, k, floor, shift, "8 bits")
            for i, (one, shift) in enumerate(zip(lists, shifts, strict=True))
        ]

    def _scan(self, z: NDArray[np.float64], k: int, floor: float, within: Mask | None) -> list[Found]:
        numbers = None if within is None else np.flatnonzero(within)
        lists = [Shortlist(k, floor=floor) for _ in z]
        _fill(lists, from_float32(z, self.rows, self.space, self._sizes, numbers))
        return [self._exactly(z[i], one, k, floor, 0.0, "float32") for i, one in enumerate(lists)]

    def _exactly(
        self, z: NDArray[np.float64], candidates: Shortlist, k: int, floor: float, shift: float, way: Way
    ) -> Found:
        rows, high = candidates.best_first()
        scores = np.empty(len(rows))
        y, at = self.space.towards(z), 0
        while at < len(rows):
            if at >= k:
                least = max(floor, float(np.partition(scores[:at], at - k)[at - k]))
                if high[at] + shift < least:
                    break
            end = min(len(rows), at + (_NEXT if at else max(k, _FIRST)))
            scores[at:end] = self._scores(y, rows[at:end])
            at = end
        rows, scores = rows[:at], scores[:at]
        best = np.lexsort((rows, -scores))[:k]
        best = best[scores[best] >= floor]
        return Found(rows[best], scores[best], at, way)

    def _scores(self, y: NDArray[np.float64], numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Exact scores; summed in the same order for every row, so that equal rows have equal scores."""
        found = np.empty(len(numbers))
        for start in range(0, len(numbers), _NEXT):
            part = numbers[start : start + _NEXT]
            vectors = self.rows[part].astype(np.float64)
            vectors -= self.space.mean
            vectors *= y
            found[start : start + _NEXT] = vectors.sum(axis=1) * self._sizes.gain[part]
        return found


def _fill(lists: Sequence[Shortlist], blocks_of_rows: Iterable[Near]) -> None:
    for near in blocks_of_rows:
        for query, one in enumerate(lists):
            one.take(near, query)
    for one in lists:
        one.cut()


def _mask(within: ArrayLike, count: int) -> Mask:
    """``within`` as bool ``[n]``. Raises UserError where it does not fit."""
    chosen = np.asarray(within)
    if chosen.dtype == np.bool_:
        if chosen.shape != (count,):
            raise UserError(f"'within' says yes or no {chosen.size} times, of {count} vectors: give one for each.")
        return chosen
    mask = np.zeros(count, np.bool_)
    if chosen.size:
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= count:
            raise UserError(f"'within' must be numbers of vectors, 0 to {count - 1}, or one yes or no for each.")
        mask[chosen] = True
    return mask
