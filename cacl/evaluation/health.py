"""Is it learning? Numbers that show collapsed features, and plain-language warnings drawn from a run's metrics.

Three ways in which such a training fails without an error: the degree task never starts, one pair of embeddings
satisfies the contrastive loss alone so that the 3D CNN gets no gradient, and the features collapse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ABOVE_CHANCE = 1.5
"""The degree task counts as not begun while accuracy is below this multiple of guessing."""

PAIRS = {
    "similarity_gq_gk": "(Gq,Gk)",
    "similarity_gq_tq": "(Gq,Tq)",
    "similarity_gq_tk": "(Gq,Tk)",
    "similarity_tq_tk": "(Tq,Tk)",
}


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


def warnings_from(rows: Sequence[Mapping[str, Any]], *, degrees: int = 16) -> list[str]:
    """Sentences for what looks wrong in the last quarter of a training, each with what to try; empty when all is well.

    Args:
        rows: rows of ``metrics.jsonl``, in order; rows whose ``kind`` is not ``"train"`` and keys that are missing or
            not finite are passed over, so ablations without a part get no warning about it. Similarities are cosines,
            accuracies fractions.
        degrees: how many shuffle degrees there are to choose from.
    """
    train = [row for row in rows if row.get("kind", "train") == "train"]
    last = train[-max(1, len(train) // 4) :]
    checks = (_degree_at_chance(last, degrees), _one_pair_carries(train, last), _collapsed(last))
    return [sentence for sentence in checks if sentence]


def _degree_at_chance(last: Sequence[Mapping[str, Any]], degrees: int) -> str | None:
    accuracy = _mean(last, "degree_accuracy")
    if accuracy is None or accuracy >= ABOVE_CHANCE / degrees:
        return None
    return (
        f"The degree task has not started: {accuracy:.1%} of the shuffle degrees were right in the last quarter of the "
        f"training, guessing gives {1 / degrees:.1%}. Try more epochs, a larger learning rate, "
        f"or a larger stride where the videos move little; and model.standardise=motion with model.degree_input=ratio, "
        f"unless they are set (as in the preset small)."
    )


def _one_pair_carries(train: Sequence[Mapping[str, Any]], last: Sequence[Mapping[str, Any]]) -> str | None:
    similarity = {name: value for key, name in PAIRS.items() if (value := _mean(last, key)) is not None}
    grad_nce, grad_degree = _mean(last, "grad_nce"), _mean(last, "grad_degree")
    best = max(similarity, key=lambda name: similarity[name], default=None)
    if best is not None and len(similarity) > 1 and similarity[best] > 0.95:
        others = [value for name, value in similarity.items() if name != best]
        if max(others) < 0.5:
            return (
                f"One pair carries the contrastive loss: {best} has similarity {similarity[best]:.2f}, the others at "
                f"most {max(others):.2f}, so the 3D CNN has little left to learn from it. Try the released form of "
                f"the loss, which averages over the pairs outside the logarithm, or leave out the pair {best}."
            )
    first = _mean(train[: max(1, len(train) // 10)], "grad_nce")
    reference = max((g for g in (grad_degree, first) if g is not None), default=None)
    if grad_nce is not None and reference is not None and reference > 0 and grad_nce < 0.01 * reference:
        return (
            f"Almost no gradient of the contrastive loss reaches the 3D CNN (norm {grad_nce:.1e}; the larger of the "
            f"degree loss's and its own at the start is {reference:.1e}). One pair probably satisfies the loss alone: "
            f"try the released form of the loss, a larger queue, or fewer pairs."
        )
    return None


def _collapsed(last: Sequence[Mapping[str, Any]]) -> str | None:
    std, rank = _mean(last, "feature_std"), _mean(last, "feature_rank")
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


def _mean(rows: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Mean of the finite values of one key, or None where there is none."""
    values = [float(row[key]) for row in rows if isinstance(row.get(key), (int, float)) and math.isfinite(row[key])]
    return sum(values) / len(values) if values else None
