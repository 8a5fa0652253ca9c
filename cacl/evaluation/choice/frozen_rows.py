"""Rows of retrieval for a frozen image encoder and for both beside each other, from one pass over the videos.

Shapes: V videos, Q queries, G gallery, D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.data.videos.dataset import Dataset
from cacl.evaluation.embed import encoder_features
from cacl.evaluation.multilabel import related
from cacl.evaluation.retrieval import KS, class_recall, nearest
from cacl.models.fused import FusedEncoder

FROZEN, FUSED = "frozen", "fused"


@dataclass(frozen=True, eq=False)
class FrozenRows:
    """Both rows.

    Attributes:
        recalls: row -> {"R@1": percent, …}.
        right: row -> number of a query -> whether its nearest video is of its class.
    """

    recalls: dict[str, dict[str, float]]
    right: dict[str, dict[int, bool]]


def frozen_rows(
    fused: FusedEncoder,
    data: Dataset,
    test: list[int],
    train: list[int],
    *,
    clips: int,
    device: torch.device | str = "cpu",
    ks: Sequence[int] = KS,
) -> FrozenRows:
    """Recall@k of the frozen encoder and of both, each test video against the training videos.

    The frozen part's vectors, centred as in the fused encoder, are the last columns of the fused ones.

    Args:
        data: labelled videos, with frames at ``fused.clip.resize``.
        test, train: numbers of the videos.
        clips: clips a video; its vector is the mean over them.
    """
    (query, asked), (gallery, there) = (_features(fused, data, part, clips, device) for part in (test, train))
    related_QG = related(data, asked.tolist(), there.tolist())
    recalls: dict[str, dict[str, float]] = {}
    right: dict[str, dict[int, bool]] = {}
    for name, first in ((FROZEN, fused.mapped[0].features), (FUSED, 0)):
        q, g = query[:, first:], gallery[:, first:]
        recalls[name] = class_recall(q, g, data, asked.tolist(), there.tolist(), ks=ks)
        right[name] = first_right(q, g, related_QG, asked)
    return FrozenRows(recalls, right)


def first_right(
    query_QD: NDArray[np.float32],
    gallery_GD: NDArray[np.float32],
    related_QG: NDArray[np.bool_],
    numbers: NDArray[np.int64],
) -> dict[int, bool]:
    """Number of a query -> whether its nearest video is of its class, or shares one with it."""
    near, _ = nearest(query_QD, gallery_GD, 1)
    return dict(zip(numbers.tolist(), related_QG[np.arange(len(near)), near[:, 0]].tolist(), strict=True))


def _features(
    fused: FusedEncoder, data: Dataset, numbers: list[int], clips: int, device: torch.device | str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors of videos, and the numbers of those that could be read."""
    found = encoder_features(fused, data.subset(numbers), clips=clips, device=device)
    return found.features, np.array(numbers)[found.kept]
