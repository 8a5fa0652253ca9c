"""Top-1, top-5, per-class accuracy and the confusion matrix of videos, each predicted by the mean over its clips.

The protocol of the paper (section 4.4, Table 5): ten clips a video, evenly spaced, centre crop; the video's prediction
is the mean over the clips, of their logits (as the authors' code) or of their probabilities.

Shapes: V videos, N clips, K classes, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset
from cacl.evaluation.embed import clips_through, evaluating, mixed_precision
from cacl.models.classifier import Average, Classifier


@dataclass(frozen=True)
class VideoPredictions:
    """Class probabilities of the videos that could be read, and the others with the reason.

    Attributes:
        probabilities: float64 ``[V, K]``, rows sum to 1, in their order.
        kept: number of each row's video in the data set, int64 ``[V]``.
        skipped: the videos left out.
    """

    probabilities: NDArray[np.float64]
    kept: NDArray[np.int64]
    skipped: tuple[Skipped, ...]


@dataclass(frozen=True)
class Recognition:
    """How well classes are predicted, in percent.

    Attributes:
        top1: share of the videos whose class is the most probable one.
        top5: share whose class is among the five most probable; with five classes or fewer always 100.
        classes: names of the classes.
        confusion: int64 ``[K, K]``, videos of the true class (row) predicted as the other (column).
    """

    top1: float
    top5: float
    classes: tuple[str, ...]
    confusion: NDArray[np.int64]

    @property
    def per_class(self) -> dict[str, float]:
        """Accuracy of each class that has test videos."""
        totals = self.confusion.sum(axis=1)
        return {
            name: 100.0 * int(self.confusion[k, k]) / int(totals[k])
            for k, name in enumerate(self.classes)
            if totals[k] > 0
        }

    @property
    def mean_class(self) -> float:
        """Mean of the classes' accuracies: every class counts the same."""
        return float(np.mean(list(self.per_class.values())))

    def __str__(self) -> str:
        return f"top-1 {self.top1:.1f} %, top-5 {self.top5:.1f} %, {int(self.confusion.sum())} videos"


def recognition(scores_VK: NDArray[np.float64], labels: Sequence[int], classes: Sequence[str]) -> Recognition:
    """Accuracies from a score a class and video; the higher the better. Equal scores: the class named first wins.

    Args:
        scores_VK: any scores, ``[V, K]``, at least one row.
        labels: true class of each video, 0 … K-1.
        classes: K names.

    Raises:
        ValueError: no video, labels of another number, or outside 0 … K-1.
    """
    truth_V = np.asarray(labels, np.int64)
    if not len(truth_V) or scores_VK.shape != (len(truth_V), len(classes)):
        raise ValueError(f"{scores_VK.shape} scores for {len(truth_V)} videos of {len(classes)} classes")
    if truth_V.min() < 0 or truth_V.max() >= len(classes):
        raise ValueError(f"labels must lie in 0 … {len(classes) - 1}, found {truth_V.min()} … {truth_V.max()}")
    ranked_VK = ranking(scores_VK)
    right_VK = ranked_VK == truth_V[:, None]
    confusion_KK = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion_KK, (truth_V, ranked_VK[:, 0]), 1)
    return Recognition(
        100.0 * float(right_VK[:, :1].any(axis=1).mean()),
        100.0 * float(right_VK[:, :5].any(axis=1).mean()),
        tuple(classes),
        confusion_KK,
    )


def ranking(scores_VK: NDArray[np.float64]) -> NDArray[np.int64]:
    """Classes from the best score to the worst, int64 ``[V, K]``; of equal scores the lower class first."""
    return np.argsort(-scores_VK, axis=1, kind="stable")


def average_clips(logits_NK: Tensor, average: Average) -> NDArray[np.float64]:
    """One video's class probabilities ``[K]`` from its clips' logits.

    Args:
        logits_NK: a row a clip.
        average: ``"logits"``: softmax of the mean of the logits; ``"probabilities"``: mean of the softmaxes.
    """
    exact_NK = logits_NK.detach().double().cpu()
    if average == "logits":
        exact_NK = exact_NK.mean(dim=0, keepdim=True)
    mean_K: NDArray[np.float64] = exact_NK.softmax(dim=1).mean(dim=0).numpy()
    return mean_K


@torch.no_grad()
def predict_videos(
    classifier: Classifier,
    data: Dataset,
    *,
    batch_size: int = 40,
    device: torch.device | str = "cpu",
    autocast_dtype: torch.dtype | None = None,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> VideoPredictions:
    """Class probabilities of videos, in eval mode (restored afterwards); each video is decoded once.

    Args:
        classifier: its ``encoder.clip`` says which pixels it sees, ``clips`` how many clips of a video and ``average``
            what of them is averaged (:func:`average_clips`).
        data: the videos, at ``encoder.clip.resize``.
        batch_size: clips in one forward pass.
        autocast_dtype: mixed precision of the forward pass.
        threads: decoding threads, which read ahead.
        progress: called with the number of videos read.

    Raises:
        UserError: no video could be read.
    """
    classifier = classifier.to(device)
    rows, kept, skipped = list[NDArray[np.float64]](), list[int](), list[Skipped]()

    def compute(clips_NTHWC: NDArray[np.uint8]) -> Tensor:
        with mixed_precision(device, autocast_dtype):
            logits_NK: Tensor = classifier(clips_NTHWC)
        return logits_NK

    with evaluating(classifier):
        for number, logits_NK in clips_through(
            compute,
            data,
            classifier.encoder.clip,
            clips=classifier.clips,
            batch_size=batch_size,
            threads=threads,
            skipped=skipped,
            progress=progress,
        ):
            kept.append(number)
            rows.append(average_clips(logits_NK, classifier.average))
    return VideoPredictions(np.stack(rows), np.array(kept, np.int64), tuple(skipped))
