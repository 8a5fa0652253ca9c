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
from cacl.evaluation.retrieval import KS, nearest, recall_at_k
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
    labels = np.array([video.label or "" for video in data.catalog.videos])
    (query, asked), (gallery, there) = (_features(fused, data, part, clips, device) for part in (test, train))
    recalls: dict[str, dict[str, float]] = {}
    right: dict[str, dict[int, bool]] = {}
    for name, first in ((FROZEN, fused.mapped[0].features), (FUSED, 0)):
        q, g = query[:, first:], gallery[:, first:]
        recalls[name] = recall_at_k(q, g, labels[asked], labels[there], ks=ks)
        right[name] = first_right(q, g, labels[asked], labels[there], asked)
    return FrozenRows(recalls, right)


def first_right(
    query_QD: NDArray[np.float32],
    gallery_GD: NDArray[np.float32],
    query_labels: NDArray[np.str_],
    gallery_labels: NDArray[np.str_],
    numbers: NDArray[np.int64],
) -> dict[int, bool]:
    """Number of a query -> whether its nearest video is of its class."""
    near, _ = nearest(query_QD, gallery_GD, 1)
    return dict(zip(numbers.tolist(), (gallery_labels[near[:, 0]] == query_labels).tolist(), strict=True))


def _features(
    fused: FusedEncoder, data: Dataset, numbers: list[int], clips: int, device: torch.device | str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Vectors of videos, and the numbers of those that could be read."""
    found = encoder_features(fused, data.subset(numbers), clips=clips, device=device)
    return found.features, np.array(numbers)[found.kept]
