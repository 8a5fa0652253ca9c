"""Is it learning? Numbers that show collapsed features, and plain-language warnings drawn from a run's metrics.

Such a training fails without an error where its task never starts, or where the features collapse; what else can go
wrong in a method, its settings know (``MethodSettings.warnings``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.methods.curves import Curve, mean_of

ABOVE_CHANCE, OF_THE_REST = 0.5, 0.1
"""A task counts as begun when its accuracy is above guessing by the one share of guessing, or by the other of what
guessing leaves: of 16 classes above 9.4 %, of two, where half again would be 75 %, above 55 %."""


def feature_health(features_ND: NDArray[np.float32]) -> dict[str, float]:
    """How far features spread out: 0 means that all videos look the same to the network.

    Args:
        features_ND: features of different clips, ``[N, D]``, N at least 2. Only their directions count.

    Returns:
        ``std``: mean over dimensions of the standard deviation of the L2-normalised features, times sqrt(D); about 1
        for directions spread evenly, 0 for collapsed ones. ``effective_rank``: exp of the entropy of the normalised
        singular values (Roy & Vetterli 2007) of the same features with their mean removed, since a common direction
        tells no two clips apart; from 1 to min(N - 1, D), and 1 where nothing varies.

    Raises:
        ValueError: if fewer than two rows are given.
    """
    if features_ND.ndim != 2 or len(features_ND) < 2:
        raise ValueError(f"features must be [N, D] with at least two rows, got {features_ND.shape}")
    x_ND = np.asarray(features_ND, np.float64)
    norm = np.linalg.norm(x_ND, axis=1, keepdims=True)
    x_ND = np.divide(x_ND, norm, out=np.zeros_like(x_ND), where=norm > 0)
    std = float(x_ND.std(axis=0).mean() * math.sqrt(x_ND.shape[1]))
    values = np.linalg.svd(x_ND - x_ND.mean(axis=0), compute_uv=False)
    if values.sum() <= 1e-9 * math.sqrt(len(x_ND)):  # rounding noise of identical rows would look like full rank
        return {"std": std, "effective_rank": 1.0}
    p = values / values.sum()
    p = p[p > 0]
    return {"std": std, "effective_rank": float(np.exp(-(p * np.log(p)).sum()))}


def warnings_from(rows: Sequence[Mapping[str, Any]], curves: Sequence[Curve] = ()) -> list[str]:
    """Sentences for what looks wrong in the last quarter of a training, each with what to try; empty when all is well.

    Args:
        rows: one stage's rows of ``metrics.jsonl``, in order; keys that are missing or not finite are passed over.
        curves: the method's; one with a ``chance`` is an accuracy that should rise above it.
    """
    last = rows[-max(1, len(rows) // 4) :]
    sentences = [_at_chance(last, curve) for curve in curves if curve.chance is not None]
    return [sentence for sentence in (*sentences, _collapsed(last)) if sentence]


def _at_chance(last: Sequence[Mapping[str, Any]], curve: Curve) -> str | None:
    key, chance = next(iter(curve.lines)), curve.chance or 0.0
    accuracy = mean_of(last, key)
    if accuracy is None or accuracy >= chance + min(ABOVE_CHANCE * chance, OF_THE_REST * (1 - chance)):
        return None
    task = curve.title.lower().removesuffix(" accuracy")
    return (
        f"The {task} task has not started: {accuracy:.1%} were right in the last quarter of the training, guessing "
        f"gives {chance:.1%}. {curve.advice}"
    )


def _collapsed(last: Sequence[Mapping[str, Any]]) -> str | None:
    std, rank = mean_of(last, "feature_std"), mean_of(last, "feature_rank")
    small_std, small_rank = std is not None and std < 0.1, rank is not None and rank < 3.0
    if not (small_std or small_rank):
        return None
    shown = ", ".join(
        [f"standard deviation {std:.2f}, healthy is near 1"] * small_std + [f"effective rank {rank:.1f}"] * small_rank
    )
    return (
        f"The features have collapsed: all clips look nearly the same to the encoder ({shown}). Try a smaller learning "
        f"rate, a larger queue or batch, and check samples/ for clips that are all alike."
    )
