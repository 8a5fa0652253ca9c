"""The nearest stretches, found by a server and scored here in float64: what is found is what ``Neighbours`` finds.

Legend: n vectors of the index, d numbers each, m queries, v videos.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.search.rows import Rows
from cacl.search.space import Space
from cacl.servers.server import Candidates, VectorServer

_KEPT = 64 * 2**20  # bytes of vectors that were read
_MORE = 64  # stretches asked for beyond those wanted: their order is known to float32 only


class ServedRows:
    """The vectors of an index that lie on a server, float32 ``[n, d]``, read as they are used; some are kept."""

    def __init__(self, server: VectorServer, keys: Sequence[str], bounds: NDArray[np.int64], width: int) -> None:
        """``keys``: of the videos; ``bounds``: first row of each, and n, int64 ``[v + 1]``; ``width``: d."""
        self._server, self._keys, self._bounds = server, keys, bounds
        self.shape, self.dtype, self.ndim = (int(bounds[-1]), width), np.dtype(np.float32), 2
        self._kept, self._turn = OrderedDict[int, Rows](), threading.RLock()

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Rows:
        if isinstance(rows, int | np.integer):
            return cast(Rows, self[np.array([rows])][0])
        numbers = np.arange(len(self))[rows]
        videos = np.searchsorted(self._bounds, numbers, side="right") - 1
        found = np.empty((len(numbers), self.shape[1]), np.float32)
        for video in np.unique(videos).tolist():
            of = videos == video
            found[of] = self._of(video)[numbers[of] - self._bounds[video]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Rows:
        return self.whole(np.empty(self.shape, np.float32)).astype(dtype or np.float32, copy=False)

    def whole(self, place: Rows) -> Rows:
        """All of them, written to ``place``. Raises UserError: the server has others."""
        number = dict(zip(self._keys, self._bounds.tolist(), strict=False))
        count = 0
        for key, parts, vectors in self._server.read(self._keys):
            rows = number[key] + parts
            place[rows[rows < len(self)]] = vectors[rows < len(self)]
            count += len(parts)
        if count != len(self):
            raise UserError(f"{self._server.shown} has {count} vectors of {len(self)}: {_AGAIN}.")
        return place

    def fetch(self, videos: Sequence[int]) -> None:
        """Read what is not kept of some videos, at once. Raises UserError: the server has others."""
        with self._turn:
            missing = {self._keys[video]: video for video in videos if video not in self._kept}
            if not missing:
                return
            counts = dict.fromkeys(missing.values(), 0)
            sizes = {video: int(self._bounds[video + 1] - self._bounds[video]) for video in counts}
            found = {video: np.empty((size, self.shape[1]), np.float32) for video, size in sizes.items()}
            for key, parts, vectors in self._server.read(list(missing)):
                video = missing[key]
                found[video][parts[parts < sizes[video]]] = vectors[parts < sizes[video]]
                counts[video] += len(parts)
            if counts != sizes:
                raise UserError(f"{self._server.shown} has another state of the index by now: {_AGAIN}.")
            self._kept |= found

    def _of(self, video: int) -> Rows:
        with self._turn:  # of both, lest another thread lets go of it in between
            self.fetch([video])
            found = self._kept[video]
            self._kept.move_to_end(video)
            while len(self._kept) > 1 and sum(rows.nbytes for rows in self._kept.values()) > _KEPT:
                self._kept.popitem(last=False)
            return found


_AGAIN = "ask again, and where that does not help push the index again with cacl index … --to"


class ServedNearest:
    """Finds single stretches as ``cacl.indexing.searcher`` wants it."""

    def __init__(
        self,
        server: VectorServer,
        keys: Sequence[str],
        bounds: NDArray[np.int64],
        space: Space,
        *,
        state: str,
        approximate: bool,
        rows: ServedRows | None = None,
    ) -> None:
        """``keys``, ``bounds``: as of ``ServedRows``; ``state``: of the index, as of ``Held``; ``rows``: take up the
        videos that are found, which are scored next.
        """
        self._rows = rows
        self._server, self._keys, self._bounds, self._space = server, keys, bounds, space
        self._state, self._approximate = state, approximate
        self._number = {key: number for number, key in enumerate(keys)}

    def __call__(
        self, directions: NDArray[np.float64], k: int, mask: NDArray[np.bool_]
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Rows and scores of the ``k`` nearest of every query, best first, equal ones lowest row first.

        Args:
            directions: queries in the space, float64 ``[m, d]``.
            k: at least 1.
            mask: which rows may be found, bool ``[n]``.

        Raises:
            UserError: the server cannot be reached, or holds another state.
        """
        allowed = np.add.reduceat(mask, self._bounds[:-1]) if len(mask) else np.zeros(0, np.int64)
        whole = bool((allowed > 0).all())
        keys = None if whole else [self._keys[video] for video in np.flatnonzero(allowed).tolist()]
        partly = allowed[allowed > 0] < np.diff(self._bounds)[allowed > 0]
        hidden = int((np.diff(self._bounds)[allowed > 0] - allowed[allowed > 0])[partly].sum())
        found = [self._one(direction, k, mask, keys, hidden) for direction in directions]
        if self._rows is not None:
            numbers = np.unique(np.concatenate([rows for rows, _ in found]))
            self._rows.fetch(np.unique(np.searchsorted(self._bounds, numbers, side="right") - 1).tolist())
        return found

    def _one(
        self, direction: NDArray[np.float64], k: int, mask: NDArray[np.bool_], keys: list[str] | None, hidden: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        count = 2 * k + _MORE + hidden
        while True:
            found = self._server.search(direction, self._space.mean, count, keys=keys, approximate=self._approximate)
            rows, scores = self._scored(direction, found, mask)
            best = np.lexsort((rows, -scores))[:k]
            sure = len(best) == k and scores[best[-1]] > found.rest
            if self._approximate or found.rest == -np.inf or sure:
                return rows[best], scores[best]
            count *= 4

    def _scored(
        self, direction: NDArray[np.float64], found: Candidates, mask: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        if found.state != self._state or not self._number.keys() >= set(found.keys):
            raise UserError(f"{self._server.shown} has another state of the index by now: {_AGAIN}.")
        if not len(found.parts):
            return np.zeros(0, np.int64), np.zeros(0)
        rows = self._bounds[[self._number[key] for key in found.keys]] + found.parts
        rows, vectors = rows[mask[rows]], found.vectors[mask[rows]].astype(np.float64)
        gain = self._space.prepared(vectors)[1]
        vectors -= self._space.mean
        vectors *= self._space.towards(direction)
        return rows, vectors.sum(axis=1) * gain  # summed as Neighbours does, so that equal rows are equal
