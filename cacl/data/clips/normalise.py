"""What is taken away from pixels before a network sees them: channel means, brightness and contrast, what stands still.

Shapes: B clips, T frames, H, W pixels, C = 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from cacl.data.clips.upload import sent

Standardise = Literal["none", "clip", "motion"]


def normalise_(
    x_B3THW: Tensor,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    standardise: Standardise = "none",
) -> Tensor:
    """``(x - mean) / std`` of each channel; then, where asked for, each clip by itself to a usual contrast. In place.

    Args:
        standardise: ``clip`` subtracts the clip's mean and divides by its standard deviation: brightness and contrast
            of the scene are gone. ``motion`` subtracts, of each pixel, its mean over the frames, and divides by what
            deviation is left: what stands still is gone, and how much moves. Neither changes when frames are shuffled.
            A little is added to the deviation (.05 and .02), so that a still or dark clip is not noise blown up.
    """
    for values, operator in ((mean, x_B3THW.sub_), (std, x_B3THW.div_)):
        if values is not None:
            operator(sent(torch.tensor(values, dtype=torch.float32), x_B3THW.device).view(1, 3, 1, 1, 1))
    if standardise != "none":
        motion = standardise == "motion"
        x_B3THW.sub_(x_B3THW.mean(dim=2 if motion else (1, 2, 3, 4), keepdim=True))
        deviation = x_B3THW.std(dim=(1, 2, 3, 4), keepdim=True, correction=0)
        x_B3THW.div_(deviation + (0.02 if motion else 0.05))
    return x_B3THW


def standardised(x_B3THW: Tensor, standardise: Standardise) -> Tensor:
    """Clips as a network that was trained with ``standardise`` sees them; a copy where anything is to be done."""
    return x_B3THW if standardise == "none" else normalise_(x_B3THW.clone(), standardise=standardise)


def standard_frames(x_BCTHW: Tensor, standardise: bool) -> Tensor:
    """The frames of clips, ``[B * T, 3, H, W]``, each by itself to mean 0 and deviation near 1 where asked for."""
    frames_NCHW = x_BCTHW.transpose(1, 2).flatten(0, 1)
    if standardise:
        frames_NCHW = normalise_(frames_NCHW[:, :, None].clone(), standardise="clip")[:, :, 0]
    return frames_NCHW
