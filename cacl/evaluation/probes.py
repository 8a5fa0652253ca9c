"""What frozen features know without fine-tuning: nearest neighbours, and a linear layer fitted on them.

The linear probe is multinomial logistic regression, exact and the same every time: full batch, float64, L-BFGS to the
optimum of a convex problem, so that no learning rate, schedule or seed could be blamed for a result. Both take the
features of ``video_features``, the mean over a video's clips; of a linear layer, the logits of the mean feature are the
mean of the clips' logits.

Shapes: N samples, D features, K classes (M in the regression), Q queries, G gallery, M neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.evaluation.multilabel import truth_matrix
from cacl.evaluation.retrieval import nearest

PENALTIES = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4)
BLOCKS, HELD_OUT = 25, 5  # so many runs of neighbouring groups, and each how-manieth of them chooses the penalty
NEIGHBOURS = 10  # Wu et al. 2018 take 200 of a million; 5 to 10 were best with 9 to 843 labelled videos
TEMPERATURE = 0.07  # Wu et al. 2018


@dataclass(frozen=True, eq=False)
class LogisticModel:
    """A fitted probe: ``scores = ((x - centre) / scale) @ weight + bias``.

    Attributes:
        centre, scale: float64 ``[D]``, of the training samples; a feature that never changes has scale 1.
        weight: float64 ``[D, M]``.
        bias: float64 ``[M]``.
        penalty: lambda of the fit.
    """

    centre: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor
    penalty: float

    def scores(self, x_ND: NDArray[np.float32] | NDArray[np.float64]) -> Tensor:
        """Logits, float64 ``[N, M]``."""
        x = torch.from_numpy(np.asarray(x_ND, np.float64))
        return (x - self.centre) / self.scale @ self.weight + self.bias


def fit_logistic(
    x_ND: NDArray[np.float32] | NDArray[np.float64],
    y_N: NDArray[np.int64] | NDArray[np.bool_],
    *,
    classes: int,
    penalty: float,
    start: LogisticModel | None = None,
    tolerance: float = 1e-9,
) -> LogisticModel:
    """Minimise mean cross entropy + penalty / 2 · ‖weight‖² over standardised features; the bias is not penalised.

    Args:
        x_ND: features of the training samples.
        y_N: classes 0 … M - 1; some may be missing. Or bool ``[N, M]``, where a sample has several classes: then the
            sum over the classes of each one's own cross entropy is minimised, a model a class.
        penalty: above 0, so that the optimum is unique (up to a constant in the bias).
        start: another penalty's fit of the same samples, to begin there; the optimum is the same.
        tolerance: largest entry of the gradient at the end.
    """
    x = torch.from_numpy(np.asarray(x_ND, np.float64))
    several, y = y_N.ndim == 2, torch.from_numpy(y_N)
    centre, scale = x.mean(dim=0), x.std(dim=0, correction=0)
    scale = torch.where(scale > 1e-9, scale, torch.ones_like(scale))
    x, axes = _turned((x - centre) / scale)
    weight = torch.zeros(x.shape[1], classes, dtype=torch.float64) if start is None else axes.T @ start.weight
    bias = torch.zeros(classes, dtype=torch.float64) if start is None else start.bias.clone()
    parameters = [weight.requires_grad_(True), bias.requires_grad_(True)]
    optimiser = torch.optim.LBFGS(
        parameters,
        max_iter=2000,
        max_eval=4000,
        history_size=20,
        tolerance_grad=tolerance,
        tolerance_change=1e-16,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        scores = x @ weight + bias
        if several:
            fit = F.binary_cross_entropy_with_logits(scores, y.double(), reduction="sum") / len(y)
        else:
            fit = F.cross_entropy(scores, y)
        loss = fit + 0.5 * penalty * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return LogisticModel(centre, scale, axes @ weight.detach(), bias.detach(), penalty)


def _turned(x_ND: Tensor) -> tuple[Tensor, Tensor]:
    """Fewer samples than features: coordinates of the samples in their own span ``[N, N]``, and its axes ``[D, N]``.

    The penalty is of the weights' length, so weights outside the span only cost: the optimum lies in it, and turning
    changes no length. With 250 samples of 1024 features that is four times fewer numbers, for the same optimum.
    """
    if len(x_ND) >= x_ND.shape[1]:
        return x_ND, torch.eye(x_ND.shape[1], dtype=x_ND.dtype)
    axes_DN, _ = torch.linalg.qr(x_ND.T)
    return x_ND @ axes_DN, axes_DN


def fit_probe(
    x_ND: NDArray[np.float32],
    y_N: NDArray[np.int64],
    group_N: NDArray[np.int64],
    *,
    classes: int,
    tolerance: float = 1e-9,
) -> LogisticModel:
    """A probe whose penalty is that of least cross entropy on held-out groups, fitted on all samples.

    Penalties are tried from the strongest on until the cross entropy rises.
    Held out is a fifth of the groups, in up to five runs of neighbours: whole videos, so that no clip of one is on both
    sides, and neighbours, because videos cut from one source have neighbouring names.

    Args:
        group_N: which video each sample is from; 3 videos or more.
        tolerance: largest entry of the gradient at the end.

    Raises:
        ValueError: fewer than 3 groups.
    """
    groups = np.unique(group_N)
    if len(groups) < 3:
        raise ValueError(f"a probe needs 3 videos or more to choose its penalty, got {len(groups)}")
    block = np.arange(len(groups)) * min(BLOCKS, len(groups)) // len(groups)
    held_N = np.isin(group_N, groups[block % HELD_OUT == 2])
    y_held = torch.from_numpy(y_N[held_N])
    best, least, start = PENALTIES[0], math.inf, None
    for penalty in PENALTIES:
        start = fit_logistic(x_ND[~held_N], y_N[~held_N], classes=classes, penalty=penalty, start=start, tolerance=1e-6)
        loss = float(F.cross_entropy(start.scores(x_ND[held_N]), y_held))
        if loss >= least:
            break
        best, least = penalty, loss
    return fit_logistic(x_ND, y_N, classes=classes, penalty=best, tolerance=tolerance)


def neighbour_scores(
    query_QD: NDArray[np.float32],
    gallery_GD: NDArray[np.float32],
    gallery_labels: Sequence[Sequence[int]],
    *,
    classes: int,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> NDArray[np.float64]:
    """Votes of the nearest neighbours by cosine, each weighing ``exp((similarity - 1) / temperature)``: ``[Q, K]``.

    Weighted k-NN as Wu et al. 2018. Neighbours of equal similarity: the lower gallery index first. A gallery of fewer
    than ``neighbours`` votes as a whole. A neighbour of several classes votes for each of them.
    """
    indices_QM, similarities_QM = nearest(query_QD, gallery_GD, neighbours)
    weight_QM = np.exp((similarities_QM.astype(np.float64) - 1) / temperature)
    scores_QK = np.zeros((len(query_QD), classes), np.float64)
    truth_GK = truth_matrix(gallery_labels, classes)
    for place in range(indices_QM.shape[1]):  # one neighbour after the other: some classes, many queries
        scores_QK += weight_QM[:, place, None] * truth_GK[indices_QM[:, place]]
    return scores_QK


def fit_linear(
    features_ND: NDArray[np.float32], labels: Sequence[Sequence[int]], *, classes: int, strength: float
) -> nn.Linear:
    """Multinomial logistic regression on standardised features as a layer that takes features as they are.

    Minimises ``mean cross entropy + |W|^2 / (2 * strength * N)``, the biases not counted: scikit-learn's
    ``LogisticRegression(C=strength)`` on standardised features. Nothing is random. See ``fit_logistic``.

    Args:
        features_ND: one row a sample.
        labels: classes of each, 0 … K-1, one or more; classes without a sample are allowed. Where one has several, a
            logistic regression a class, as scikit-learn's ``OneVsRestClassifier`` makes them.
        classes: K.
        strength: C, above 0; the greater, the less is held back.

    Returns:
        float32 ``nn.Linear(D, K)``.
    """
    several = any(len(own) > 1 for own in labels)
    targets = truth_matrix(labels, classes) if several else np.array([own[0] for own in labels], np.int64)
    model = fit_logistic(features_ND, targets, classes=classes, penalty=1 / (strength * len(labels)))
    linear = nn.Linear(features_ND.shape[1], classes)
    with torch.no_grad():
        weight_KD = (model.weight / model.scale[:, None]).T
        linear.weight.copy_(weight_KD)
        linear.bias.copy_(model.bias - weight_KD @ model.centre)
    return linear
