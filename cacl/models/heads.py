"""The heads on top of G: the contrast head and the degree head (paper section 3.1, Eq. 6).

Shapes: B batch, D feature width of G, M degree classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DegreeInput = Literal["pair", "difference", "stages"]
_FAINT = 0.02  # a response below this is none


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


def temporal_profile(maps: Sequence[Tensor]) -> Tensor:
    """What G's stages saw over time, ``[B, 3 * sum(channels)]``: log of mean, maximum and minimum over the frames.

    Every map is averaged over space first. The three say how large and how even the response is in time, not where in
    the clip it is largest; the logarithm turns the contrast of the scene into a constant that a difference removes.

    Args:
        maps: of each stage, ``[B, C, T', H', W']``, 0 or more (after ReLU).
    """
    parts = []
    for map_BCTHW in maps:
        response_BCT = map_BCTHW.float().mean(dim=(3, 4))
        parts += [response_BCT.mean(dim=2), response_BCT.amax(dim=2), response_BCT.amin(dim=2)]
    return (torch.cat(parts, dim=1) + _FAINT).log()


class DegreeHead(nn.Module):
    """h of Eq. 6: from what G makes of a clip and of its twin to logits over the shuffle degrees.

    ``input="pair"`` is the paper's concat[G(x), G(x~)]. ``"difference"`` sees [G(x), G(x~) - G(x)], each number
    standardised over the batch: what the shuffle changed is small beside what the video looks like, and the task does
    not start within hundreds of steps without it. ``"stages"`` sees the same of the temporal profiles of all of G's
    stages instead of its pooled feature, where the frames' order is not yet averaged away (``docs/recipes.md``).
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
            clip_BD: G(x), or the clip's temporal profile for ``stages``.
            twin_BD: G(x~), or the twin's.
            uniforms: float ``[B, hidden]`` in [0, 1), the dropout draws of each sample; None drops nothing.
        """
        if self.norm is None:
            x = torch.cat([clip_BD, twin_BD], dim=1)
        else:
            x = self.norm(torch.cat([clip_BD, twin_BD - clip_BD], dim=1))
        x = F.relu(self.fc7(x))
        if uniforms is not None and self.dropout > 0:
            x = x * (uniforms >= self.dropout) / (1 - self.dropout)
        logits: Tensor = self.fc8(x)
        return logits
