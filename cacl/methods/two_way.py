"""The contrast without copies: both views are query and key at once, against the other videos of the batch.

No momentum copy and no queue (Chen et al. 2020; Eq. 3 with the loss ``outside``): in a training of some hundred steps
a copy lags behind what it is compared with, and every clip that was computed can teach in both directions. The
measurements are in ``lab/RESULTS.md``.

Shapes: B batch, E embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from cacl.methods.losses import contrastive_loss


def two_way_contrast(
    embeddings: Mapping[str, Tensor], pairs: Sequence[str], video_B: Tensor, *, temperature: float
) -> Tensor:
    """The mean over ``pairs`` of InfoNCE, every pair with view q and view k in both roles.

    A pair's negatives are of the kind of its second embedding (G's, or T's), from both views of all other videos.

    Args:
        embeddings: unit ``[B, E]``, all with gradient: ``gq`` and ``gk``, and ``tq`` and ``tk`` where pairs name them.
        pairs: ``gq_gk``, ``gq_tq`` (the same view's), ``gq_tk`` (the other view's), ``tq_tk``.
        video_B: which video each sample comes from.
        temperature: above 0.
    """
    videos = video_B.repeat(2)
    same = videos[:, None] == videos[None, :]
    total = torch.zeros((), device=video_B.device)
    for pair in pairs:
        a, b = pair.split("_")
        query = torch.cat([embeddings[a[0] + "q"], embeddings[a[0] + "k"]]).float()
        first, second = ("q", "k") if pair == "gq_tq" else ("k", "q")
        key = torch.cat([embeddings[b[0] + first], embeddings[b[0] + second]]).float()
        negatives = (query @ key.T).masked_fill(same, -torch.inf)
        positive = (query * key).sum(dim=1)
        total = total + contrastive_loss([positive], negatives, temperature=temperature, form="outside")
    return total / len(pairs)
