"""MoCo on single frames (He et al. 2020): how the frame encoder below T is trained (paper section 4.1).

Shapes: B batch, C channels, H W pixels, F features of a frame, E = 128 embedding, K queue.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cacl.data.clips.augment import standard_frames
from cacl.data.clips.sampling import ClipPlan
from cacl.distributed.processes import gathered
from cacl.methods.batch import StepOutput, ViewBatch
from cacl.methods.losses import contrastive_loss
from cacl.methods.momentum import Queue, momentum_copy, momentum_update
from cacl.methods.shuffled import Shuffled
from cacl.models.frame_encoder import ResNet
from cacl.models.heads import contrast_head
from cacl.sections import section


class FrameMoCo(nn.Module):
    """MoCo v1; a sample is one frame, so views are ``[B, 3, 1, H, W]``."""

    views = 2
    uniforms = 1

    def __init__(
        self,
        frame_encoder: ResNet,
        *,
        temperature: float = 0.07,
        momentum: float = 0.999,
        queue_size: int = 65536,
        mask_own_keys: bool = False,
        batch_negatives: bool = False,
        projection: Literal["linear", "mlp"] = "linear",
        standardise: bool = False,
        batchnorm: Literal["global", "process"] = "global",
    ) -> None:
        """Put the parts together.

        Args:
            frame_encoder: ``[N, 3, H, W]`` to ``[N, F]``; its weights are the result.
            standardise: each frame to mean 0 and standard deviation near 1, as CACL shows frames to T.
            mask_own_keys: other frames of the query's own video are no negatives; ``batch.video`` tells which.
            batch_negatives: the keys of the batch's frames of other videos are negatives too.
            batchnorm: with ``process``, each process's own, other processes compute the keys (``shuffled.py``).
        """
        super().__init__()
        self.temperature, self.momentum, self.mask_own_keys = temperature, momentum, mask_own_keys
        self.batch_negatives, self.standardise = batch_negatives, standardise
        self.shuffle_keys = batchnorm == "process"
        head = contrast_head(frame_encoder.num_features, projection=projection)
        self.query = nn.Sequential(frame_encoder, head)
        self.key = momentum_copy(self.query)
        self.queue = Queue(queue_size, 128)

    @property
    def encoder(self) -> nn.Module:
        """The frame encoder that stays."""
        return self.query[0]

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """The one frame of the sample."""
        return ClipPlan(np.zeros((1, 1), dtype=np.int64))

    def forward(self, batch: ViewBatch) -> StepOutput:
        """InfoNCE of view q against view k and the queue."""
        with section("frame encoder query, forward"):
            features_BF = self.query[0](standard_frames(batch.views[0], self.standardise)).float()
        with torch.autocast(features_BF.device.type, enabled=False):
            query_BE = F.normalize(self.query[1](features_BF), dim=1)
        with torch.no_grad():
            shuffled = Shuffled(batch.uniforms[:, 0]) if self.shuffle_keys else None
            x = batch.views[1] if shuffled is None else shuffled.out(batch.views[1])
            with section("frame encoder key"):
                key_features = self.key[0](standard_frames(x, self.standardise)).float()
            with torch.autocast(features_BF.device.type, enabled=False):
                key_BE = F.normalize(self.key[1](key_features), dim=1)
            key_BE = key_BE if shuffled is None else shuffled.back(key_BE)
            all_BE, video_B = gathered(key_BE), gathered(batch.video)
        with torch.autocast(features_BF.device.type, enabled=False):
            negatives_BK = query_BE @ self.queue.keys.T
        positive_B = (query_BE * key_BE).sum(dim=1)
        metrics = {
            "similarity_positive": positive_B.detach().mean(),
            "similarity_negatives": negatives_BK.detach().mean(),
        }
        if self.mask_own_keys:
            own_BK = batch.video[:, None] == self.queue.videos[None, :]
            negatives_BK = negatives_BK.masked_fill(own_BK, -torch.inf)
        if self.batch_negatives:
            same_BB = batch.video[:, None] == video_B[None, :]
            with torch.autocast(features_BF.device.type, enabled=False):
                others_BB = (query_BE @ all_BE.T).masked_fill(same_BB, -torch.inf)
            negatives_BK = torch.cat([negatives_BK, others_BB], dim=1)
        nce = contrastive_loss([positive_B], negatives_BK, temperature=self.temperature, form="outside")
        return StepOutput({"nce": nce, "total": nce}, metrics, features_BF, all_BE, video_B)

    @torch.no_grad()
    def after_step(self, output: StepOutput, progress: float) -> None:
        """Move the momentum copy, then put this step's keys into the queue."""
        assert output.keys is not None
        assert output.key_videos is not None
        momentum_update(self.key, self.query, self.momentum)
        self.queue.enqueue(output.keys, output.key_videos)
