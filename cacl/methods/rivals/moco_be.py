"""MoCo with background erasing (Wang et al., CVPR 2021): the query is a clip to which one of its own frames is added.

The static frame spoils what a clip's background tells and leaves its motion; the clean clip, through the momentum copy,
is the key. As released, another clip of the same video is a further negative, so that the scene alone does not suffice.

Shapes: b samples of this process, C channels, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from cacl.data.clips.sampling import ClipPlan, clip_window, start_elsewhere
from cacl.methods.contract import MAIN, MethodBatch, StepOutput, View
from cacl.methods.moco import MoCo
from cacl.methods.permute import formatted
from cacl.methods.rivals.moco_settings import SMALL, MoCoSettings
from cacl.models.cnn3d import CNN3D
from cacl.settings import Settings


class MoCoBESettings(MoCoSettings):
    """The values of the authors' code; ``small`` has no further negative, which is none of the idea."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"small": {**SMALL, "intra_negative": False}}

    published: ClassVar[Mapping[str, Any]] = {
        "data.stride": 4,
        "data.resize": [256, 342],
        "augment.size": 224,
        "augment.jitter": [0.5, 0.5, 0.25, 0.5],
        "augment.jitter_p": 1.0,
        "augment.blur_p": 0.0,
        "augment.mean": [0.485, 0.456, 0.406],
        "augment.std": [0.229, 0.224, 0.225],
        "method.queue_size": 3569,
        "optim.lr": 3e-3,
        "optim.weight_decay": 1e-4,
        "optim.schedule": "step",
        "optim.milestones": [120, 160],
        "optim.batch_size": 4,
        "optim.epochs": 200,
    }

    name: Literal["moco+be"] = "moco+be"
    most: Annotated[float, Field(ge=0, lt=1)] = 0.3  # of the static frame's share, lambda
    mixed: Literal["batch", "sample"] = "batch"  # what has one lambda
    intra_negative: bool = True

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> MoCoBE:
        """MoCo+BE of clips as ``data`` says; with two moments the key is of another one."""
        return MoCoBE(
            network,
            frames=settings.data.frames,
            stride=settings.data.stride,
            moments=settings.data.moments,
            **self.model_dump(include={"most", "mixed", "intra_negative"}),
            **self.options(settings),
        )


class MoCoBE(MoCo):
    """MoCo whose query is mixed with one of its frames; everything else is MoCo's."""

    def __init__(
        self,
        network: CNN3D,
        *,
        frames: int = 16,
        stride: int = 4,
        moments: int = 1,
        most: float = 0.3,
        mixed: Literal["batch", "sample"] = "batch",
        intra_negative: bool = True,
        **options: Any,
    ) -> None:
        """Put the parts together; ``options`` are those of :class:`cacl.methods.moco.MoCo`."""
        super().__init__(network, network.num_features, **options)
        self.frames, self.stride, self.moments = frames, stride, moments
        self.most, self.mixed, self.intra_negative = most, mixed, intra_negative
        self.views = (View(clip=0, draw=0), View(clip=moments - 1, draw=1))
        if intra_negative:
            self.views += (View(clip=moments, draw=2),)
        self.uniforms, self.shared = 3, 1  # lambda of the sample, the frame, MoCo's own; lambda of the batch

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """The clip, its other moment where there is one, and of the same video a clip that starts elsewhere.

        As in the authors' code a start within one frame of the clip's own moves on by a third: here of the possible
        starts, so that no clip runs over the end of the video (``start_elsewhere``).
        """
        window = clip_window(n_frames, frames=self.frames, stride=self.stride)
        starts = rng.integers(window.starts, size=self.moments + 1)
        starts[-1] = start_elsewhere(int(starts[0]), int(starts[-1]), window.starts)
        clips_NT = (starts[:, None] + window.stride * np.arange(self.frames, dtype=np.int64)) % n_frames
        return ClipPlan(tuple(clips_NT if self.intra_negative else clips_NT[:-1]))

    def erased(self, batch: MethodBatch) -> Tensor:
        """View 0 with one of its frames in all of them, ``(1 - lambda) x_t + lambda x_j``, lambda in [0, ``most``)."""
        x_bCTHW = self.pixels(batch.views[0])
        share = batch.shared[:1] if self.mixed == "batch" else batch.uniforms[:, 0]
        share_b1 = (self.most * share).view(-1, 1, 1, 1, 1)
        frame_b = (batch.uniforms[:, 1] * x_bCTHW.shape[2]).long()
        rows_b = torch.arange(len(frame_b), device=frame_b.device)
        static_bC1HW = x_bCTHW.transpose(1, 2)[rows_b, frame_b][:, :, None]
        return formatted((1 - share_b1) * x_bCTHW + share_b1 * static_bC1HW, like=x_bCTHW)

    def forward(self, batch: MethodBatch) -> StepOutput:
        """InfoNCE of the erased clip against the clean one, the queue, and the other clip of the video."""
        features_bF, query_bE = self.queried(self.erased(batch))
        more = []
        if self.intra_negative:  # by the encoder itself, with gradient
            other_bE = self.queried(self.pixels(batch.views[2]))[1]
            more = [(query_bE * other_bE).sum(dim=1, keepdim=True)]
        key_bE = self.keyed(batch)
        nce, metrics = self.contrast(query_bE, key_bE, batch.video, *more)
        if more:
            metrics["similarity_other_clip"] = more[0].detach().mean()
        return StepOutput({MAIN: nce}, {"nce": nce}, metrics, features_bF, {"key": key_bE})
