"""What a frozen image encoder says of some moments of every training video: computed once, looked up by the step.

Shapes: V videos, L moments, F features of a frame, b samples.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from cacl.errors import UserError, quoted

TABLE = "frozen.safetensors"  # in the folder of a run


class FrozenFrames(nn.Module):
    """A table in place of a frame encoder, scaled so that a number of it has mean 0 and all have variance 1.

    Args:
        features_VLF: of every video its moments in the order of time.
    """

    features: Tensor

    def __init__(self, features_VLF: Tensor) -> None:
        super().__init__()
        features_VLF = features_VLF.float()
        centred = features_VLF - features_VLF.mean(dim=(0, 1))
        self.register_buffer("features", centred / centred.std().clamp(min=1e-12), persistent=False)

    @property
    def moments(self) -> int:
        """L."""
        return self.features.shape[1]

    @property
    def num_features(self) -> int:
        """F."""
        return self.features.shape[2]

    def forward(self, video_b: Tensor) -> Tensor:
        """``[b, L, F]`` of the videos of these numbers; no gradient goes back."""
        return self.features[video_b]


def load_frozen_frames(run: Path) -> FrozenFrames:
    """The table that a run keeps. Raises UserError where it is gone or damaged."""
    try:
        return FrozenFrames(load_file(run / TABLE)["features"])
    except (OSError, KeyError, SafetensorError) as error:
        raise UserError(
            f"{run / TABLE}, what the frozen encoder says of the training videos, is gone or damaged ({error}); put "
            f"back a copy, or, if the run is not finished, remove it: "
            f"cacl pretrain --resume {quoted(run)} makes it again."
        ) from error


def with_gaps(features_bLF: Tensor, uniforms_bU: Tensor, *, kept: int, dropout: float) -> Tensor:
    """A look at frozen features with drop-out in time and in features, in place of an augmentation of pixels.

    Args:
        features_bLF: as of ``FrozenFrames``.
        uniforms_bU: L + F numbers in [0, 1) a sample, which decide everything.
        kept: how many moments stay, 1 … L, each equally often; they stay in their order.
        dropout: probability that a feature is 0 in all moments of the look; the others are scaled up.

    Returns:
        ``[b, kept, F]``.
    """
    L, F = features_bLF.shape[1:]
    moment_bk = uniforms_bU[:, :L].argsort(dim=1)[:, :kept].sort(dim=1).values
    picked_bkF = features_bLF.gather(1, moment_bk[..., None].expand(-1, -1, F))
    stays_bF = uniforms_bU[:, L:] >= dropout
    return torch.where(stays_bF[:, None], picked_bkF / (1 - dropout), 0.0)
