"""The contrast head on top of an encoder (paper section 3.1).

Shapes: B batch.
"""

from __future__ import annotations

from typing import Literal

from torch import nn


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
