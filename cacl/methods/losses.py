"""The losses: Eq. 3 and 4 of the paper, the released variant, and Eq. 6.

Shapes: B batch, K negatives, P pairs, M degree classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Form = Literal["inside", "outside"]


def contrastive_loss(
    positives: Sequence[Tensor],
    negatives_BK: Tensor,
    *,
    temperature: float,
    form: Form,
) -> Tensor:
    """InfoNCE over several positive pairs against the queue (paper section 3.2).

    With s_p the cosine of pair p, n_j those of the negatives and t the temperature:

    - ``inside`` is Eq. 3 and 4: ``-log( sum_p e^(s_p/t) / (sum_p e^(s_p/t) + sum_j e^(n_j/t)) )``;
    - ``outside`` is the authors' code: the mean over p of ``-log( e^(s_p/t) / (e^(s_p/t) + sum_j e^(n_j/t)) )``.

    One pair alone makes both the same. Eq. 2 prints the temperature as a factor; it is a divisor, as in MoCo.

    Args:
        positives: P tensors ``[B]``, cosines in [-1, 1].
        negatives_BK: ``[B, K]`` cosines; ``-inf`` leaves a negative out.
        temperature: above 0.
        form: where the sum over pairs stands.

    Returns:
        The mean over the batch, a scalar.
    """
    positives_BP = torch.stack(list(positives), dim=1) / temperature
    negatives_B1 = (negatives_BK / temperature).logsumexp(dim=1, keepdim=True)
    if form == "inside":
        positive_B = positives_BP.logsumexp(dim=1)
        return (torch.logaddexp(positive_B, negatives_B1[:, 0]) - positive_B).mean()
    return (torch.logaddexp(positives_BP, negatives_B1) - positives_BP).mean()


def degree_loss(logits_BM: Tensor, degree_B: Tensor) -> Tensor:
    """Eq. 6: cross entropy over the shuffle degrees.

    Args:
        logits_BM: h, float ``[B, M]``.
        degree_B: int64 classes ``[B]`` (``degree_class`` of Eq. 5's distance).
    """
    return F.cross_entropy(logits_BM, degree_B)
