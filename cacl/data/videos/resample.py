"""A video at another frame rate: which of its frames is shown at each tick of an even clock.

Frame j at ``rate`` is the video's frame whose timestamp is nearest to j / rate seconds, of two as near the earlier. A
video that has fewer frames a second repeats some; none is made up.

Shapes: N frames of the video, M frames at the rate.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_NEARLY = 1e-6  # seconds: what adds up in floating point is no distance


def resampled_count(n_frames: int, fps: float, rate: float) -> int:
    """M, 1 or more: the video's length at ``rate`` frames a second, rounded; N where ``fps`` is unknown (0)."""
    return max(1, math.floor(n_frames / fps * rate + 0.5)) if fps > 0 else n_frames


def nearest_frames(seconds: NDArray[np.float64], count: int, rate: float) -> NDArray[np.int64]:
    """The video's frame for each of ``count`` frames at ``rate``.

    Args:
        seconds: when each frame is shown and when the last one ends, ``[N + 1]``, increasing from 0. All NaN where
            nothing tells the time: then the frames are taken one by one, the last for all that is behind it.
        count: M.
        rate: frames a second, above 0.

    Returns:
        int64 ``[M]``, 0 … N - 1, never decreasing.
    """
    n_frames = len(seconds) - 1
    ticks_M = np.arange(count, dtype=np.float64)
    if np.isnan(seconds).any():
        return np.minimum(ticks_M.astype(np.int64), n_frames - 1)
    halfway = (seconds[:-2] + seconds[1:-1]) / 2  # between the timestamps of neighbours
    return np.searchsorted(halfway + _NEARLY, ticks_M / rate, side="left").astype(np.int64)


def file_spans(frames: NDArray[np.int64], n_frames: int, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Stretches counted in frames at the rate, as stretches of the video's own frames; none is empty.

    Args:
        frames: of ``nearest_frames``, ``[M]``.
        n_frames: N.
        bounds: int64 ``[n, 2]``, first frame of each stretch and one after the last, 0 … M.

    Returns:
        int64 ``[n, 2]``, the same in 0 … N.
    """
    every = np.append(frames, n_frames)
    first, stop = every[bounds[:, 0]], every[bounds[:, 1]]
    return np.stack([first, np.maximum(stop, first + 1)], axis=1)
