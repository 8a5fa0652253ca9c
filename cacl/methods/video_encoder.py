"""G with its contrast head: what has a momentum copy (paper Fig. 1).

Shapes: B batch, C channels, T frames, H W pixels, D features of G, E = 128 embedding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cacl.data.clips.normalise import Standardise, standardised
from cacl.methods.permute import formatted, permute_frames
from cacl.models.cnn3d import CNN3D
from cacl.models.heads import contrast_head


class VideoEncoder(nn.Module):
    """G with its contrast head: what has a momentum copy (paper Fig. 1)."""

    def __init__(
        self,
        network: CNN3D,
        *,
        twin: bool,
        one_pass: bool,
        standardise: Standardise,
        projection: Literal["linear", "mlp"],
    ) -> None:
        super().__init__()
        self.network = network
        self.one_pass, self.standardise = one_pass, standardise
        self.contrast = contrast_head(network.num_features * (2 if twin else 1), projection=projection)

    def features(
        self, x_BCTHW: Tensor, permutation_BT: Tensor | None, *, twin_first: bool = False
    ) -> tuple[Tensor, ...]:
        """(G(x),) or (G(x), G(x~)), each ``[B, D]`` float32.

        Two separate passes, as the authors' code, give each its own BatchNorm statistics: in training the mean
        difference of clips and twins is normalised away, in evaluation it is not. One pass shares the statistics.
        Running averages lean to the later pass: that of the twin, unless ``twin_first``.
        """
        x_BCTHW = standardised(x_BCTHW, self.standardise)
        if permutation_BT is None:
            return (self.network(x_BCTHW),)
        twin_BCTHW = permute_frames(x_BCTHW, permutation_BT)
        if not self.one_pass and twin_first:
            return (self.network(twin_BCTHW), self.network(x_BCTHW))[::-1]
        if not self.one_pass:
            return self.network(x_BCTHW), self.network(twin_BCTHW)
        both: Tensor = self.network(formatted(torch.cat([x_BCTHW, twin_BCTHW]), like=x_BCTHW))
        return both[: len(x_BCTHW)], both[len(x_BCTHW) :]

    def embed(self, features: Sequence[Tensor]) -> Tensor:
        """Unit embedding ``[B, E]`` of the concatenated features."""
        with torch.autocast(features[0].device.type, enabled=False):
            return F.normalize(self.contrast(torch.cat(list(features), dim=1)), dim=1)
