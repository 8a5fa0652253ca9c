"""The contrastive loss: Eq. 3 and 4 of the paper, and the released variant.

Shapes: B batch, K negatives, P pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
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
