"""How often each video is read in an epoch, where that is not once: longer ones more often, or every class as often.

Shapes: V videos.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def duration_counts(frames: Sequence[int]) -> NDArray[np.float64]:
    """Clips of each video an epoch by its length, ``[V]``: one up to the median, and in proportion beyond it.

    So a folder of clips stays as it is, and two hours among them are seen more than once an epoch; nothing is left out.
    """
    lengths_V = np.asarray(frames, np.float64)
    return np.maximum(1.0, lengths_V / np.median(lengths_V))


def balanced_counts(labels: Sequence[Sequence[int]], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Counts of the same sum with which every class is read as often, ``[V]``.

    A video of several classes is counted by the mean of their shares, so that rare ones still come up more often.

    Args:
        labels: the classes of each video, one or more.
        counts: without balance.
    """
    mass: dict[int, float] = {}
    for own, count in zip(labels, counts.tolist(), strict=True):
        for label in own:
            mass[label] = mass.get(label, 0.0) + count / len(own)
    shares_V = np.array([np.mean([1 / mass[label] for label in own]) for own in labels]) * counts
    balanced_V: NDArray[np.float64] = shares_V * (counts.sum() / shares_V.sum())
    return balanced_V


def drawn_videos(counts: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """An epoch's videos, the sum of ``counts`` (rounded) of them: each as often as its count, rounded down or up.

    Systematic sampling in a random order of the videos: over many epochs a video comes up exactly as often as its
    count says, and in one epoch never a whole time more or less.
    """
    order_V = rng.permutation(len(counts))
    ends_V = np.cumsum(counts[order_V]) * (round(float(counts.sum())) / counts.sum())
    ends_V[-1] = round(float(counts.sum()))
    times_V = np.diff(np.floor(ends_V + rng.random()), prepend=0.0).astype(np.int64)
    return np.repeat(order_V, times_V).astype(np.int64)
