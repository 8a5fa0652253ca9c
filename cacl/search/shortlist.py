"""Who can still be among the k best, while lower and upper ends of scores come in block after block."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_NOBODY = -torch.inf


class Shortlist:
    """For one query: with the k-th largest lower end T, everyone whose upper end is at least T.

    Attributes:
        overfull: more than ``most`` are in question; the list is given up.
    """

    def __init__(self, k: int, *, floor: float = -np.inf, most: int | None = None) -> None:
        """``floor``: a least score. ``most``: how many may be in question in the end, any number where ``None``."""
        self._k, self._most = k, most
        self._least = float(np.nextafter(np.float32(floor), np.float32(-np.inf)))
        self._best = torch.empty(0)  # the k largest lower ends so far, falling
        self._rows: list[Tensor] = []
        self._high: list[Tensor] = []
        self.overfull = False

    def take(self, rows: Tensor | int, low: Tensor, high: Tensor) -> None:
        """A block of candidates.

        Args:
            rows: their numbers, int64 ``[c]``, or the first of numbers that follow each other.
            low: what their scores are at least, float32 ``[c]``; minus infinity with ``high`` for who does not count.
            high: what their scores are at most, float32 ``[c]``.
        """
        if self.overfull:
            return
        full = len(self._best) == self._k
        better = torch.cat([self._best, low[low > self._best[-1]] if full else low])
        self._best = torch.topk(better, min(self._k, len(better))).values
        if len(self._best) == self._k:
            self._least = max(self._least, float(self._best[-1]))
        places = torch.nonzero((high >= self._least) & (high > _NOBODY))[:, 0]
        self._rows.append(places + rows if isinstance(rows, int) else rows[places])
        self._high.append(high[places])
        if self._most is not None and sum(map(len, self._rows)) > 2 * self._most + len(low):
            self._cut()

    def _cut(self) -> None:
        rows, high = torch.cat(self._rows), torch.cat(self._high)
        stay = high >= self._least
        self._rows, self._high = [rows[stay]], [high[stay]]
        self.overfull = self._most is not None and len(self._rows[0]) > self._most

    def best_first(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Numbers and upper ends of everyone in question, highest upper end first."""
        if not self._rows:
            return np.zeros(0, np.int64), np.zeros(0)
        self._cut()
        high, order = torch.sort(self._high[0], descending=True, stable=True)
        return self._rows[0][order].numpy(), high.double().numpy()
