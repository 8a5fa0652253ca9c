"""From scores of stretches to hits: one for each video, where in it the match is, and what its score means.

Shapes: n vectors of the index, p stretches of one video, d numbers of a vector.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Hit:
    """A video that matches.

    Attributes:
        path: of its file, relative to the folder of videos.
        start_s: where the match begins, seconds; NaN where nothing is known of time, as in all times.
        end_s: where it ends.
        best_s: middle of the stretch that matches best.
        score: a cosine as this index takes it, -1 to 1: for each stretch that was asked with the most like one of the
            video, in the mean.
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
