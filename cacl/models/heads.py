"""The heads on top of G: the contrast head and the degree head (paper section 3.1, Eq. 6).

Shapes: B batch, D feature width of G, M degree classes.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DegreeInput = Literal["pair", "ratio"]
_FAINT = 0.02  # a response far below this is none


def contrast_head(features: int, *, projection: Literal["linear", "mlp"], out: int = 128) -> nn.Module:
    """``[B, features]`` to ``[B, out]``, not yet normalised.

    ``linear`` is the paper's one layer. ``mlp`` has two, with BatchNorm and ReLU between (Chen et al. 2020), as wide
    inside as its input but at least 256.
    """
    if projection == "linear":
        return nn.Linear(features, out)
    hidden = max(features, 256)
    return nn.Sequential(
        nn.Linear(features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out)
    )


class DegreeHead(nn.Module):
    """h of Eq. 6: from the features of a clip and its twin to logits over the shuffle degrees.

    ``input="pair"`` is the paper's concat[G(x), G(x~)]. ``"ratio"`` sees [log G(x), log G(x~) - log G(x)], each number
    standardised over the batch: what the shuffle changed is small beside what the video looks like, and grows with how
    much moves in it; the ratio tells the two apart (``docs/recipes.md``).
    """

    def __init__(
        self,
        features: int,
        *,
        hidden: int = 512,
        dropout: float = 0.5,
        classes: int = 16,
        input: DegreeInput = "pair",
    ) -> None:
        super().__init__()
        self.input = input
        self.dropout = dropout
        self.hidden = hidden
        self.norm = nn.BatchNorm1d(2 * features, affine=False) if input != "pair" else None
        self.fc7 = nn.Linear(2 * features, hidden)
        self.fc8 = nn.Linear(hidden, classes)

    def forward(self, clip_BD: Tensor, twin_BD: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """Logits ``[B, M]``.

        Args:
            clip_BD: G(x), 0 or more (after ReLU and averaging).
            twin_BD: G(x~).
            uniforms: float ``[B, hidden]`` in [0, 1), the dropout draws of each sample; None drops nothing.
        """
        if self.norm is None:
            x = torch.cat([clip_BD, twin_BD], dim=1)
        else:
            clip_BD, twin_BD = (clip_BD + _FAINT).log(), (twin_BD + _FAINT).log()
            x = self.norm(torch.cat([clip_BD, twin_BD - clip_BD], dim=1))
        x = F.relu(self.fc7(x))
        if uniforms is not None and self.dropout > 0:
            x = x * (uniforms >= self.dropout) / (1 - self.dropout)
        logits: Tensor = self.fc8(x)
        return logits
