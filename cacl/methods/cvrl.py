"""CVRL (Qian et al., CVPR 2021): two clips of a video, oftener near than far, are drawn together against the batch.

No momentum copy and no queue: both clips go through the network with gradients, and each is a query against all clips
of the batch's other videos (NT-Xent of Chen et al. 2020).

Shapes: B samples of the global batch, b of this process, T frames, D features, E = 128 embedding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cacl.data.clips.normalise import Standardise, standardised
from cacl.data.clips.sampling import ClipPlan, clip_window
from cacl.distributed.processes import gathered, rank, summed, world
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.permute import formatted
from cacl.models.cnn3d import CNN3D
from cacl.models.heads import contrast_head


class CVRL(Method):
    """``network`` and its contrast head see both clips in one pass, so that they share BatchNorm statistics."""

    views = (View(clip=0, draw=0), View(clip=1, draw=1))

    def __init__(
        self,
        network: CNN3D,
        *,
        frames: int = 16,
        stride: int = 2,
        temperature: float = 0.1,
        standardise: Standardise = "none",
        projection: Literal["linear", "mlp"] = "mlp",
    ) -> None:
        super().__init__()
        self.frames, self.stride, self.temperature, self.standardise = frames, stride, temperature, standardise
        self.network = network
        self.contrast = contrast_head(network.num_features, projection=projection)

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """Two clips, as the paper draws them: of S possible starts, d or more apart with probability ``(1 - d / S)^2``.

        So the density of the distance falls linearly to 0. Given the distance, the first start is uniform.
        """
        window = clip_window(n_frames, frames=self.frames, stride=self.stride)
        far, where = rng.random(2)
        distance = int(window.starts * (1 - math.sqrt(1 - far)))
        first = int(where * (window.starts - distance))
        clip_T = window.stride * np.arange(self.frames, dtype=np.int64)
        return ClipPlan(tuple((start + clip_T) % n_frames for start in (first, first + distance)))

    def forward(self, batch: MethodBatch) -> StepOutput:
        """NT-Xent of both clips of every video."""
        features_2bD, (first_bE, second_bE) = self.both(batch)
        with torch.autocast(first_bE.device.type, enabled=False):
            loss, metrics = nt_xent(first_bE, second_bE, batch.video, temperature=self.temperature)
        return StepOutput({MAIN: loss}, {"nce": loss}, metrics, features_2bD)

    def both(self, batch: MethodBatch) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Features of both clips, ``[2, b, D]``, and their unit embeddings, ``[b, E]`` each; all float32."""
        views = [standardised(view, self.standardise) for view in batch.views]
        features_nD = self.network(formatted(torch.cat(views), like=views[0])).float()
        with torch.autocast(features_nD.device.type, enabled=False):
            first_bE, second_bE = F.normalize(self.contrast(features_nD), dim=1).chunk(2)
        return torch.stack(features_nD.chunk(2)), (first_bE, second_bE)

    @torch.no_grad()
    def embeddings(self, batch: MethodBatch) -> Mapping[str, Tensor]:
        """Of the two clips, ``first`` and ``second``."""
        features = [self.network(standardised(view, self.standardise)).float() for view in batch.views]
        first, second = (F.normalize(self.contrast(one), dim=1) for one in features)
        return {"first": first, "second": second}


def nt_xent(
    first_bE: Tensor, second_bE: Tensor, video_b: Tensor, *, temperature: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean over both clips of ``-log(e^(p/t) / (e^(p/t) + sum_n e^(n/t)))``.

    p is the cosine with the other clip of the sample, n those with both clips of all samples of other videos, of all
    processes; the gradient reaches them all. A sample of the same video is no negative.

    Args:
        first_bE: unit rows.
        second_bE: unit rows, of the same samples.
        video_b: int64, which video each sample comes from.
        temperature: above 0.

    Returns:
        The loss, and the mean cosines ``similarity_positive`` and ``similarity_negatives``.
    """
    query_nE = torch.cat([first_bE, second_bE])
    key_NE = torch.cat([gathered(first_bE), gathered(second_bE)])
    row_b, size = own_rows_of(video_b), len(key_NE) // 2
    target_n = torch.cat([row_b + size, row_b])  # of a first clip the second of its sample, and the reverse
    return among_other_videos(query_nE, key_NE, target_n, video_b.repeat(2), temperature=temperature)


def among_other_videos(
    query_nE: Tensor, key_NE: Tensor, target_n: Tensor, video_n: Tensor, *, temperature: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Cross entropy of each query's key among the keys of other videos, and the mean cosines of both.

    Args:
        query_nE: unit rows of this process.
        key_NE: unit rows of two looks at each sample of the global batch, all first ones and then all second ones.
        target_n: int64, which key belongs to a query; other keys of its video do not count.
        video_n: int64, the videos of the queries.
        temperature: above 0.
    """
    cosine_nN = query_nE @ key_NE.T
    video_N = gathered(video_n[: len(video_n) // 2]).repeat(2)
    negative_nN = video_n[:, None] != video_N[None, :]
    positive_nN = F.one_hot(target_n, len(key_NE)).bool()
    logits_nN = (cosine_nN / temperature).masked_fill(~(negative_nN | positive_nN), -torch.inf)
    negatives = summed(negative_nN.sum()).clamp(min=1) / world()  # the mean over processes is that over all
    metrics = {
        "similarity_positive": cosine_nN.detach()[positive_nN].mean(),
        "similarity_negatives": (cosine_nN.detach() * negative_nN).sum() / negatives,
    }
    return F.cross_entropy(logits_nN, target_n), metrics


def own_rows_of(video_b: Tensor) -> Tensor:
    """Numbers of this process's samples in the global batch, int64 ``[b]``."""
    return rank() * len(video_b) + torch.arange(len(video_b), device=video_b.device)
