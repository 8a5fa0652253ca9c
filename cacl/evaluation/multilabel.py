"""Videos of several classes each: mean average precision (mAP), and top-k as "one of its classes is among the k first".

Shapes: V videos, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.dataset import Dataset
from cacl.data.videos.labels import label_order


@dataclass(frozen=True)
class MultiLabel:
    """How well the classes of videos are found, in percent.

    Attributes:
        map: mean of the classes' average precisions.
        top1: share of the videos whose most probable class is one of theirs.
        top5: share that has one of its classes among the five most probable.
        per_class: average precision of each class that a test video has.
        videos: how many.
    """

    map: float
    top1: float
    top5: float
    per_class: dict[str, float]
    videos: int

    @property
    def numbers(self) -> dict[str, float]:
        """What goes into the tables."""
        return {"mAP": self.map, "top-1": self.top1, "top-5": self.top5}

    def __str__(self) -> str:
        return f"mAP {self.map:.1f} %, top-1 {self.top1:.1f} %, {self.videos} videos"


def multilabel(scores_VK: NDArray[np.float64], truth_VK: NDArray[np.bool_], classes: Sequence[str]) -> MultiLabel:
    """mAP and top-k from a score a class and video; the higher the better.

    Args:
        scores_VK: any scores, at least one row.
        truth_VK: which classes each video has, one or more.
        classes: K names.

    Raises:
        ValueError: no video, or shapes that do not belong together.
    """
    if not len(truth_VK) or scores_VK.shape != truth_VK.shape or scores_VK.shape[1] != len(classes):
        raise ValueError(f"{scores_VK.shape} scores for {truth_VK.shape} labels of {len(classes)} classes")
    ranked_VK = np.argsort(-scores_VK, axis=1, kind="stable")
    right_VK = np.take_along_axis(truth_VK, ranked_VK, axis=1)
    per_class = {
        name: 100.0 * average_precision(scores_VK[:, k], truth_VK[:, k])
        for k, name in enumerate(classes)
        if truth_VK[:, k].any()
    }
    top1, top5 = (100.0 * float(right_VK[:, :n].any(axis=1).mean()) for n in (1, 5))
    return MultiLabel(float(np.mean(list(per_class.values()))), top1, top5, per_class, len(truth_VK))


def average_precision(scores_V: NDArray[np.float64] | NDArray[np.float32], truth_V: NDArray[np.bool_]) -> float:
    """Area under precision over recall, in [0, 1]: the sum over thresholds of (R_n - R_{n-1}) · P_n.

    Equal scores share a threshold, so that the order of the videos does not matter.

    Raises:
        ValueError: nothing is true.
    """
    positives = int(truth_V.sum())
    if not positives:
        raise ValueError("average precision needs at least one true item")
    order_V = np.argsort(-scores_V, kind="stable")
    sorted_V, hits_V = scores_V[order_V], np.cumsum(truth_V[order_V])
    ends = np.append(np.flatnonzero(np.diff(sorted_V)), len(sorted_V) - 1)  # of runs of equal scores
    hits = hits_V[ends]
    precision, recall_step = hits / (ends + 1), np.diff(hits, prepend=0) / positives
    return float((precision * recall_step).sum())


def truth_matrix(labels: Sequence[Sequence[int]], classes: int) -> NDArray[np.bool_]:
    """Which classes each video has, bool ``[V, K]``."""
    truth_VK = np.zeros((len(labels), classes), np.bool_)
    for row, own in enumerate(labels):
        truth_VK[row, list(own)] = True
    return truth_VK


def related(data: Dataset, query: Sequence[int], gallery: Sequence[int]) -> NDArray[np.bool_]:
    """Which gallery videos share a class with which query, ``[Q, G]``; both by their numbers in ``data``."""
    names = {name: k for k, name in enumerate(label_order(n for v in data.catalog.videos for n in v.labels))}
    sides = (
        truth_matrix([[names[n] for n in data.catalog.videos[i].labels] for i in side], len(names))
        for side in (query, gallery)
    )
    query_QK, gallery_GK = (side.astype(np.float32) for side in sides)
    return np.asarray(query_QK @ gallery_GK.T > 0)
