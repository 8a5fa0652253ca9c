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
from cacl.evaluation.retrieval import nearest

NEIGHBOURS = 10  # Wu et al. 2018 take 200 of a million; 5 to 10 were best with 9 to 843 labelled videos
TEMPERATURE = 0.07  # Wu et al. 2018


def neighbour_scores(
    query_QD: NDArray[np.float32],
    gallery_GD: NDArray[np.float32],
    gallery_labels: Sequence[int],
    *,
    classes: int,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> NDArray[np.float64]:
    """Votes of the nearest neighbours by cosine, each weighing ``exp((similarity - 1) / temperature)``: ``[Q, K]``.

    Weighted k-NN as Wu et al. 2018. Neighbours of equal similarity: the lower gallery index first. A gallery of fewer
    than ``neighbours`` votes as a whole.
    """
    indices_QM, similarities_QM = nearest(query_QD, gallery_GD, neighbours)
    labels_QM = np.asarray(gallery_labels, np.int64)[indices_QM]
    scores_QK = np.zeros((len(query_QD), classes), np.float64)
    rows_QM = np.broadcast_to(np.arange(len(query_QD))[:, None], labels_QM.shape)
    np.add.at(scores_QK, (rows_QM, labels_QM), np.exp((similarities_QM.astype(np.float64) - 1) / temperature))
    return scores_QK


def fit_linear(features_ND: NDArray[np.float32], labels: Sequence[int], *, classes: int, strength: float) -> nn.Linear:
    """Multinomial logistic regression on standardised features as a layer that takes features as they are.

    Minimises ``mean cross entropy + |W|^2 / (2 * strength * N)``, the biases not counted: scikit-learn's
    ``LogisticRegression(C=strength)`` on standardised features. Nothing is random. See ``fit_logistic``.

    Args:
        features_ND: one row a sample.
        labels: class of each, 0 … K-1; classes without a sample are allowed.
        classes: K.
        strength: C, above 0; the greater, the less is held back.

    Returns:
        float32 ``nn.Linear(D, K)``.
    """
    targets_N = np.asarray(labels, np.int64)
    model = fit_logistic(features_ND, targets_N, classes=classes, penalty=1 / (strength * len(targets_N)))
    linear = nn.Linear(features_ND.shape[1], classes)
    with torch.no_grad():
        weight_KD = (model.weight / model.scale[:, None]).T
        linear.weight.copy_(weight_KD)
        linear.bias.copy_(model.bias - weight_KD @ model.centre)
    return linear
