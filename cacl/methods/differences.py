"""Frame differences: what a temporal task must beat, because they need no learning.

Shapes: C channels, T frames, S pixels, P all values of a frame.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LAGS = (1, 2, 3, 4)


def frame_differences(clip_CTSS: Tensor) -> NDArray[np.float64]:
    """Mean absolute pixel difference of every two frames, ``[T, T]``, of a clip in [0, 1]."""
    frames_TP = clip_CTSS.transpose(0, 1).flatten(1)
    differences: NDArray[np.float64] = (torch.cdist(frames_TP, frames_TP, p=1) / frames_TP.shape[1]).double().numpy()
    return differences


def seven_numbers(difference_TT: NDArray[np.float64]) -> list[float]:
    """The log of seven mean differences: over all frames at lags 1 to 4, and of neighbours the largest, median, least.

    A clip of fewer than five frames has lags up to T - 1 only.
    """
    neighbours = np.diagonal(difference_TT, 1)
    means = [float(np.diagonal(difference_TT, lag).mean()) for lag in LAGS if lag < len(difference_TT)]
    values = [*means, float(neighbours.max()), float(np.median(neighbours)), float(neighbours.min())]
    return [_log(value) for value in values]


def log_difference(first: Tensor, second: Tensor) -> float:
    """The log of the mean absolute pixel difference of two frames in [0, 1]."""
    return _log(float((first - second).abs().mean()))


def _log(difference: float) -> float:
    """A tenth of a grey level is added, so that still frames have a logarithm."""
    return math.log(difference + 0.1 / 255)


def pair_differences(clip_CTSS: Tensor, order_T: NDArray[np.int64]) -> NDArray[np.float64]:
    """Fourteen numbers of a pair: seven of the clip, seven of its twin ``clip[:, order]``."""
    difference_TT = frame_differences(clip_CTSS)
    return np.array([*seven_numbers(difference_TT), *seven_numbers(difference_TT[np.ix_(order_T, order_T)])])
