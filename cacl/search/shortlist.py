"""Who can still be among the k best, while lower and upper ends of scores come in block after block."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.search.bounds import Near

_LOWEST = float(np.finfo(np.float32).min)


class Shortlist:
    """For one query: with the k-th largest lower end T, everyone whose upper end is at least T.

    Attributes:
        overfull: more than ``most`` are in question; the list is given up.
    """

    def __init__(self, k: int, *, floor: float = -np.inf, most: int | None = None) -> None:
        """``floor``: a least score. ``most``: how many may be in question in the end, any number where ``None``."""
        self._k, self._most = k, most
        self._least = _below(floor)
        self._best = torch.empty(0)  # the k largest lower ends so far, falling
        self._rows: list[Tensor] = []
        self._high: list[Tensor] = []
        self._count = 0
        self.overfull = False

    def take(self, near: Near, query: int) -> None:
        """A block of candidates, for the query with this number."""
        if self.overfull:
            return
        score = near.score[query]
        few = len(self._best) < self._k
        if few:
            self._improve(score - near.bound(query))
        places = torch.nonzero(score >= _below(self._least - near.loosest(query)))[:, 0]
        if not len(places):
            return
        score, bound = score[places], near.bound(query, places)
        if not few:
            self._improve(score - bound)
        high = score + bound
        stay = high >= self._least
        self._rows.append(near.numbers(places[stay]))
        self._high.append(high[stay])
        self._count += len(self._high[-1])
        if self._most is not None and self._count > 2 * self._most + near.score.shape[1]:
            self.cut()

    def _improve(self, low: Tensor) -> None:
        """Raise the k-th largest lower end."""
        better = torch.cat([self._best, low])
        self._best = torch.topk(better, min(self._k, len(better))).values
        if len(self._best) == self._k:
            self._least = max(self._least, float(self._best[-1]))

    def cut(self) -> None:
        """Let go of whoever is no longer in question; to be called after the last block."""
        if not self._rows:
            return
        rows, high = torch.cat(self._rows), torch.cat(self._high)
        stay = high >= self._least
        self._rows, self._high = [rows[stay]], [high[stay]]
        self._count = len(self._rows[0])
        self.overfull = self._most is not None and self._count > self._most

    def best_first(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Numbers and upper ends of everyone in question, highest upper end first, after ``cut``."""
        if not self._rows:
            return np.zeros(0, np.int64), np.zeros(0)
        high, order = torch.sort(torch.cat(self._high), descending=True, stable=True)
        return torch.cat(self._rows)[order].numpy(), high.double().numpy()


def _below(number: float) -> float:
    """A float32 that is below; never minus infinity, which is the score of who does not count."""
    with np.errstate(over="ignore"):
        return max(_LOWEST, float(np.nextafter(np.float32(number), np.float32(-np.inf))))
