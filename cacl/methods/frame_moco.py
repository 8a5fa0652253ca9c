"""MoCo on single frames (He et al. 2020): how the frame encoder below T is trained (paper section 4.1).

Shapes: B batch, C channels, H W pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from cacl.data.clips.normalise import Standardise, standard_frames
from cacl.data.clips.sampling import ClipPlan
from cacl.methods.moco import MoCo
from cacl.models.frame_encoder import ResNet


class FrameMoCo(MoCo):
    """MoCo v1; a sample is one frame, so views are ``[B, 3, 1, H, W]``."""

    def __init__(self, frame_encoder: ResNet, *, standardise: bool = False, **options: Any) -> None:
        """Put the parts together.

        Args:
            frame_encoder: ``[N, 3, H, W]`` to ``[N, F]``; its weights are the result.
            standardise: each frame to mean 0 and standard deviation near 1, as CACL shows frames to T.
            options: the others of :class:`cacl.methods.moco.MoCo`.
        """
        pixels: Standardise = "clip" if standardise else "none"
        super().__init__(frame_encoder, frame_encoder.num_features, standardise=pixels, **options)

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """The one frame of the sample."""
        return ClipPlan((np.zeros(1, dtype=np.int64),))

    def pixels(self, view: Tensor) -> Tensor:
        """The frame, ``[B, 3, H, W]``."""
        return standard_frames(view, self.standardise != "none")
