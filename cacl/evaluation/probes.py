"""What frozen features know without fine-tuning: nearest neighbours, and a linear layer fitted on them.

Both take the features of ``video_features``, the mean over a video's clips. Of a linear layer, the logits of the mean
feature are the mean of the clips' logits.

Shapes: N samples, D features, K classes, Q queries, G gallery, M neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from cacl.evaluation.logistic import fit_logistic
from cacl.evaluation.multilabel import truth_matrix
from cacl.evaluation.retrieval import nearest

NEIGHBOURS = 10  # Wu et al. 2018 take 200 of a million; 5 to 10 were best with 9 to 843 labelled videos
TEMPERATURE = 0.07  # Wu et al. 2018


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
