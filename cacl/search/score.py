"""What a score of this archive means: how many pairs of unrelated stretches, of different videos, lie below it.

A cosine says nothing by itself: in one archive .4 is a copy, in another everything has it. So some pairs of stretches
of different videos are drawn and their scores kept, and a score is told by its place among them.

Legend: n vectors, d numbers each, p pairs.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cacl.errors import UserError, counted
from cacl.files import write_whole
from cacl.search.rows import CHUNK, Rows, check_numbers
from cacl.search.space import Space

PAIRS = 20_000
_CACHED = 512  # pairs at a time whose products stay near the processor
_TRIES = 20  # draws for a pair of different videos; where one video is nearly everything, fewer pairs are found


@dataclass(frozen=True, eq=False)
class Scale:
    """Scores of unrelated pairs, rising, float32 ``[p]``; p is 0 where there is but one video."""

    unrelated: NDArray[np.float32]

    def below(self, scores: ArrayLike) -> NDArray[np.float64]:
        """The share of unrelated pairs that score less, 0 to 1, for every score; NaN where there are no pairs."""
        places = np.searchsorted(self.unrelated, np.asarray(scores, dtype=np.float64), side="left")
        if not len(self.unrelated):
            return np.full(places.shape, np.nan)
        share: NDArray[np.float64] = places / len(self.unrelated)
        return share

    def reached_by(self, share: float) -> float:
        """The score that this share of unrelated pairs lies below: what a share as a threshold means. NaN: no pairs."""
        return float(np.quantile(self.unrelated, share)) if len(self.unrelated) else float("nan")

    def words(self, score: float) -> str:
        """``nearer than 99.8 % of unrelated stretches``."""
        count = len(self.unrelated)
        if not count:
            return "one video: nothing to compare with"
        share = float(self.below(score))
        if share >= 1:
            return f"nearer than any of {counted(count, 'pair')} of unrelated stretches"
        if share >= 0.5:
            # Cut, not rounded: 99.98 % is not 100 %.
            digits = 0 if share < 0.9 else 1 if share < 0.99 else 2
            return f"nearer than {np.floor(share * 100 * 10**digits) / 10**digits:.{digits}f} % of unrelated stretches"
        return f"no nearer than unrelated stretches ({100 * share:.0f} % of them are farther)"

    def save(self, file: Path) -> None:
        """Write the scores (a NumPy ``.npy``), whole or not at all. Raises UserError."""
        content = io.BytesIO()
        np.save(content, self.unrelated)
        write_whole(file, content.getvalue())

    @staticmethod
    def load(file: Path) -> Scale:
        """Raises UserError: missing, damaged, or no scale."""
        try:
            scores = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"{file} is missing or damaged ({error}): make the index anew.") from error
        if not isinstance(scores, np.ndarray) or scores.dtype != np.float32 or scores.ndim != 1:
            raise UserError(f"{file} holds no scores: make the index anew.")
        if not np.isfinite(scores).all() or (np.diff(scores) < 0).any():
            raise UserError(f"{file} is damaged (its scores do not rise): make the index anew.")
        return Scale(scores)


def measure_scale(rows: Rows, space: Space, videos: ArrayLike, *, pairs: int = PAIRS, seed: int = 0) -> Scale:
    """Score some pairs of vectors of different videos, the same ones for the same seed.

    Args:
        rows: float32 ``[n, d]``.
        space: where they are compared.
        videos: which video each vector is of, whole numbers or names ``[n]``.
        pairs: how many are wanted.

    Raises:
        UserError: a vector is not finite; it is named.
        ValueError: not one video a vector.
    """
    number = np.unique(np.asarray(videos), return_inverse=True)[1].reshape(-1) if len(rows) else np.zeros(0, np.int64)
    if len(number) != len(rows):
        raise ValueError(f"{len(number)} videos for {len(rows)} vectors")
    if not len(rows) or number.max() == 0:
        return Scale(np.zeros(0, np.float32))
    rng = np.random.default_rng([seed, len(rows)])
    drawn = rng.integers(0, len(rows), (2, pairs * _TRIES))
    drawn = drawn[:, number[drawn[0]] != number[drawn[1]]][:, :pairs]
    small = len(rows) <= CHUNK  # each vector is drawn often
    whole = _prepared(rows, space, np.arange(len(rows))) if small else None
    step = CHUNK if whole is None else _CACHED
    parts = (drawn[:, i : i + step] for i in range(0, drawn.shape[1], step))
    scores = np.concatenate([_scores(rows, space, part, whole) for part in parts])
    return Scale(np.sort(scores).astype(np.float32))


def _scores(
    rows: Rows, space: Space, drawn: NDArray[np.int64], whole: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    sides = [_prepared(rows, space, numbers) if whole is None else whole[numbers] for numbers in drawn]
    scores: NDArray[np.float64] = (sides[0] * sides[1]).sum(axis=1)
    return scores


def _prepared(rows: Rows, space: Space, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
    part = np.asarray(rows[numbers], dtype=np.float64)
    check_numbers(part, numbers=numbers)
    return space.prepared(part)[0]
