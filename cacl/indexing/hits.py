"""From scores of stretches to hits: one for each video, where in it the match is, and what its score means.

Shapes: n vectors of the index, p stretches of one video, d numbers of a vector.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.search.score import Scale

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Hit:
    """A video that matches.

    Attributes:
        path: of its file, relative to the folder of videos.
        start_s: where the match begins, seconds; NaN where nothing is known of time, as in all times.
        end_s: where it ends.
        best_s: middle of the stretch that matches best.
        score: of that stretch: a cosine as this index takes it, -1 to 1.
        nearer_than: the share of pairs of unrelated stretches of this index that score less, 0 to 1; ``None`` where
            there are none to compare with.
        words: the same, said.
        label: of the video, or ``None``; several with commas between.
        absent: whether its file was not there when the index was brought up to date.
        video: its number in the index.
        row: number of the vector of the stretch that matches best.
    """

    path: str
    start_s: float
    end_s: float
    best_s: float
    score: float
    nearer_than: float | None
    words: str
    label: str | None
    absent: bool
    video: int
    row: int

    def to_json(self) -> dict[str, Any]:
        """For a JSON file: ``null`` for NaN."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True, eq=False)
class Curve:
    """How much every stretch of one video is like a query.

    Attributes:
        start_s: float64 ``[p]``, seconds.
        end_s: float64 ``[p]``.
        score: float64 ``[p]``.
    """

    start_s: Floats
    end_s: Floats
    score: Floats


def match_about(best: int, score: Floats, scale: Scale) -> tuple[int, int]:
    """First and one past the last stretch of the match about the best one.

    It goes on as long as scores are nearer to the best than to what unrelated stretches have in the middle.

    Args:
        best: number of the stretch that matches best.
        score: of all stretches of the video, in order, ``[p]``.
        scale: of the index.
    """
    middle = scale.reached_by(0.5)
    floor = (float(score[best]) + (0.0 if math.isnan(middle) else middle)) / 2
    good = score >= min(floor, float(score[best]))
    before, behind = np.flatnonzero(~good[:best]), np.flatnonzero(~good[best:])
    return (int(before[-1]) + 1 if len(before) else 0), (best + int(behind[0]) if len(behind) else len(score))
