"""Which shuffle degrees does the degree head confuse: true against predicted, and how far off it is.

An error of one degree is nearly right, one of ten is guessing: the counts and the mean error in degrees say what the
accuracy alone does not.

Shapes: P pairs, M degree classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class DegreeConfusion:
    """True against predicted shuffle degrees.

    Attributes:
        counts: int64 ``[M, M]``, row = true degree, column = predicted.
        degrees: the degree of each class, ``(0, 2, 3, …)``.
    """

    counts: NDArray[np.int64]
    degrees: tuple[int, ...]

    def numbers(self) -> dict[str, Any]:
        """For ``results.json``: percent; errors in degrees, ``error of one answer`` is that of the best constant."""
        degrees, pairs = np.array(self.degrees), int(self.counts.sum())
        away_MM = np.abs(degrees[:, None] - degrees[None, :])
        constant_M = self.counts.sum(axis=1) @ away_MM / pairs
        near = self.counts[away_MM <= 1].sum()
        return {
            "accuracy": 100.0 * float(np.trace(self.counts)) / pairs,
            "chance": 100.0 / len(degrees),
            "within one degree": 100.0 * float(near) / pairs,
            "mean error": float((self.counts * away_MM).sum() / pairs),
            "error of one answer": float(constant_M.min()),
            "pairs": pairs,
            "degrees": list(self.degrees),
            "counts": self.counts.tolist(),
        }


def degree_confusion(
    true_P: NDArray[np.int64], predicted_P: NDArray[np.int64], degrees: Sequence[int]
) -> DegreeConfusion:
    """Count pairs by true and predicted class.

    Args:
        true_P: classes 0 … M - 1 (``degree_class``), at least one pair.
        predicted_P: likewise.
        degrees: of each class, ``possible_degrees(frames)``.

    Raises:
        ValueError: other lengths, no pair, or a class that is none.
    """
    size = len(degrees)
    if len(true_P) != len(predicted_P) or len(true_P) == 0:
        raise ValueError(f"{len(true_P)} true and {len(predicted_P)} predicted degrees")
    classes = np.concatenate([true_P, predicted_P])
    if classes.min() < 0 or classes.max() >= size:
        raise ValueError(f"classes are 0 to {size - 1}, found {classes.min()} to {classes.max()}")
    counts = np.bincount(true_P * size + predicted_P, minlength=size * size).reshape(size, size)
    return DegreeConfusion(counts.astype(np.int64), tuple(degrees))
