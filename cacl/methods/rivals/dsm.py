"""DSM (Wang et al., AAAI 2021): a clip stays near when its scene is warped, not when its motion is another.

The anchor is warped, all of its frames alike; its positive are the same frames, clean, under the momentum copy. What
shares the scene but not the motion, another clip of the video or one whose frames are each warped otherwise, is pushed
away with gradient, beside a queue of other videos.

Shapes: b samples, T frames, D features, E = 128 embedding, K keys of the queue, N negatives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from cacl.data.clips.sampling import ClipPlan, clip_window, start_elsewhere
from cacl.distributed.processes import gathered, own_rows
from cacl.methods.contract import MAIN, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve, Mark
from cacl.methods.moco import MoCo
from cacl.methods.permute import formatted
from cacl.methods.rivals.moco_settings import MoCoSettings
from cacl.methods.rivals.warp import PUSH_DRAWS, SPLINE_DRAWS, pushed, splined
from cacl.models.cnn3d import CNN3D
from cacl.settings import NotNegative, Settings, refuse


class DSMSettings(MoCoSettings):
    """The values of the authors' code."""

    published: ClassVar[Mapping[str, Any]] = {
        "data.frames": 32,
        "data.stride": 4,
        "data.resize": [256, 342],
        "augment.size": 224,
        "augment.jitter": [0.5, 0.5, 0.25, 0.5],
        "augment.jitter_p": 1.0,
        "augment.blur_p": 0.0,
        "augment.mean": [0.485, 0.456, 0.406],
        "augment.std": [0.229, 0.224, 0.225],
        "optim.lr": 3e-3,
        "optim.weight_decay": 1e-4,
        "optim.schedule": "step",
        "optim.milestones": [120, 160, 200],
        "optim.batch_size": 3,
        "optim.epochs": 240,
    }

    name: Literal["dsm"] = "dsm"
    warp: Literal["push", "tps"] = "push"  # of the anchor: local pushes, or a thin-plate spline
    negative: Literal["other_clip", "tps_per_frame", "none"] = "other_clip"  # the scene without the motion
    loss: Literal["contrastive", "triplet"] = "contrastive"
    margin: NotNegative = 0.5  # of the triplet loss

    @model_validator(mode="after")
    def _consistent(self) -> DSMSettings:
        if self.loss == "triplet" and self.negative == "none":
            refuse(["method.loss triplet needs a negative (found method.negative none)"])
        return self

    def curves(self, frames: int) -> Sequence[Curve]:
        """Similarities, and how often the warped clip is nearer than the other."""
        similarity, norm = super().curves(frames)
        if self.negative == "none":
            return [similarity, norm]
        lines = {**similarity.lines, "similarity_disturbed": "same scene, other motion"}
        nearer = Curve(
            "Motion kept is nearer than scene kept",
            {"motion_accuracy": "training clips"},
            references=(Mark("chance", 0.5),),
            percent=True,
            shown={"motion_accuracy": "motion right"},
        )
        return [nearer, Curve(similarity.title, lines), norm]

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> DSM:
        """Clips of ``data.frames`` frames, ``data.stride`` apart."""
        return DSM(
            network,
            frames=settings.data.frames,
            stride=settings.data.stride,
            **self.model_dump(include={"warp", "negative", "loss", "margin"}),
            **self.options(settings),
        )


class DSM(MoCo):
    """InfoNCE of the warped clip with its clean frames against the queue and the negative, or two triplets."""

    def __init__(
        self,
        network: CNN3D,
        *,
        frames: int = 16,
        stride: int = 1,
        warp: Literal["push", "tps"] = "push",
        negative: Literal["other_clip", "tps_per_frame", "none"] = "other_clip",
        loss: Literal["contrastive", "triplet"] = "contrastive",
        margin: float = 0.5,
        **options: Any,
    ) -> None:
        """Put the parts together; ``options`` are those of :class:`cacl.methods.moco.MoCo`."""
        super().__init__(network, network.num_features, **options)
        self.frames, self.stride, self.warp, self.negative = frames, stride, warp, negative
        self.loss, self.margin = loss, margin
        other = View(clip=1 if negative == "other_clip" else 0, draw=2)
        self.views = (View(draw=0), View(draw=1), *([] if negative == "none" else [other]))
        self.shared = PUSH_DRAWS if warp == "push" else 0
        splines = (warp == "tps") + (frames if negative == "tps_per_frame" else 0)
        self.uniforms = splines * SPLINE_DRAWS

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """A clip, and where it is wanted another one, that starts elsewhere (``start_elsewhere``)."""
        window = clip_window(n_frames, frames=self.frames, stride=self.stride)
        first, second = (int(start) for start in rng.integers(window.starts, size=2))
        starts = (first, start_elsewhere(first, second, window.starts))[: 2 if self.negative == "other_clip" else 1]
        clip_T = window.stride * np.arange(self.frames, dtype=np.int64)
        return ClipPlan(tuple((start + clip_T) % n_frames for start in starts))

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Warp, encode, compare."""
        features_bD, q_bE = self.queried(self.pixels(self.warped(batch)))
        k_bE = self.keyed(batch)
        if self.negative == "none":
            loss, metrics = self.contrast(q_bE, k_bE, batch.video)
            return StepOutput({MAIN: loss}, {"nce": loss}, metrics, features_bD, {"key": k_bE})
        n_bE = self.queried(self.pixels(self.disturbed(batch)))[1]  # by the encoder itself, with gradient
        with torch.autocast(features_bD.device.type, enabled=False):
            disturbed_b1 = (q_bE * n_bE).sum(dim=1, keepdim=True)
            loss, metrics = self.contrast(q_bE, k_bE, batch.video, disturbed_b1)
            metrics["similarity_disturbed"] = disturbed_b1.detach().mean()
            metrics["motion_accuracy"] = ((q_bE * k_bE).sum(dim=1) > disturbed_b1[:, 0]).float().mean()
            if self.loss == "triplet":
                loss = triplets(q_bE, k_bE, n_bE, margin=self.margin)
        return StepOutput({MAIN: loss}, {"nce": loss}, metrics, features_bD, {"key": k_bE})

    def warped(self, batch: MethodBatch) -> Tensor:
        """View 0, all frames alike; pushes are one draw for the whole batch."""
        view = batch.views[0]
        if self.warp == "push":
            return formatted(pushed(view, batch.shared), like=view)
        return formatted(splined(view, batch.uniforms[:, None, :SPLINE_DRAWS]), like=view)

    def disturbed(self, batch: MethodBatch) -> Tensor:
        """View 2; where it shows the anchor's frames, each is warped otherwise."""
        view = batch.views[2]
        if self.negative == "other_clip":
            return view
        of_frames = torch.unflatten(batch.uniforms[:, -self.frames * SPLINE_DRAWS :], 1, (self.frames, -1))
        return formatted(splined(view, of_frames), like=view)


def triplets(q_bE: Tensor, k_bE: Tensor, n_bE: Tensor, *, margin: float) -> Tensor:
    """``[|q - k| - |q - n| + margin]+``, n each sample's own negative, plus the same with the batch's in reverse."""
    near_b = (q_bE - k_bE).norm(dim=1)
    others = (n_bE, own_rows(gathered(n_bE).flip(0)))
    return sum((F.relu(near_b - (q_bE - n).norm(dim=1) + margin).mean() for n in others), near_b.new_zeros(()))
