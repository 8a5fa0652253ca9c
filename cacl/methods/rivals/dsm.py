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

from cacl.data.clips.sampling import ClipPlan, clip_window
from cacl.distributed.processes import gathered, own_rows
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve, Mark
from cacl.methods.losses import contrastive_loss
from cacl.methods.moco import Queue, batch_negatives, momentum_copy, momentum_update, scheduled_momentum
from cacl.methods.permute import formatted
from cacl.methods.rivals.moco_settings import MoCoSettings
from cacl.methods.rivals.warp import PUSH_DRAWS, SPLINE_DRAWS, pushed, splined
from cacl.methods.video_encoder import VideoEncoder
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
        encoder = VideoEncoder(
            network,
            twin=False,
            one_pass=False,
            standardise=settings.model.standardise,
            projection=settings.model.projection,
        )
        own = self.model_dump(exclude={"name"})
        return DSM(encoder, **own, frames=settings.data.frames, stride=settings.data.stride)


class DSM(Method):
    """InfoNCE of the warped clip with its clean frames against the queue and the negative, or two triplets."""

    def __init__(
        self,
        query: VideoEncoder,
        *,
        frames: int = 16,
        stride: int = 1,
        warp: Literal["push", "tps"] = "push",
        negative: Literal["other_clip", "tps_per_frame", "none"] = "other_clip",
        loss: Literal["contrastive", "triplet"] = "contrastive",
        margin: float = 0.5,
        temperature: float = 0.07,
        momentum: float = 0.999,
        momentum_schedule: Literal["constant", "cosine"] = "constant",
        queue_size: int = 16384,
        mask_own_keys: bool = False,
        batch_negatives: bool = False,
    ) -> None:
        super().__init__()
        self.frames, self.stride, self.warp, self.negative = frames, stride, warp, negative
        self.loss, self.margin, self.temperature = loss, margin, temperature
        self.mask_own_keys, self.batch_negatives = mask_own_keys, batch_negatives
        self.momentum, self.momentum_schedule = momentum, momentum_schedule
        self.query, self.key, self.queue = query, momentum_copy(query), Queue(queue_size)
        other = View(clip=1 if negative == "other_clip" else 0, draw=2)
        self.views = (View(draw=0), View(draw=1), *([] if negative == "none" else [other]))
        self.shared = PUSH_DRAWS if warp == "push" else 0
        splines = (warp == "tps") + (frames if negative == "tps_per_frame" else 0)
        self.uniforms = splines * SPLINE_DRAWS

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.query.network

    def networks(self) -> Sequence[nn.Module]:
        """The network and its copy."""
        return [self.query.network, self.key.network]

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """A clip, and where it is wanted another one, moved on by a third of the starts if the two are nearly one."""
        window = clip_window(n_frames, frames=self.frames, stride=self.stride)
        first, second = (int(start) for start in rng.integers(window.starts, size=2))
        if abs(first - second) < 2:
            second = (second + window.starts // 3) % window.starts
        starts = (first, second)[: 2 if self.negative == "other_clip" else 1]
        clip_T = window.stride * np.arange(self.frames, dtype=np.int64)
        return ClipPlan(tuple((start + clip_T) % n_frames for start in starts))

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Warp, encode, compare."""
        features_bD = self.query.features(self.warped(batch), None)[0]
        q_bE = self.query.embed([features_bD])
        with torch.no_grad():
            k_bE = self.key.embed(self.key.features(batch.views[1], None))
        n_bE = None
        if self.negative != "none":
            n_bE = self.query.embed(self.query.features(self.disturbed(batch), None))
        with torch.autocast(features_bD.device.type, enabled=False):
            positive_b = (q_bE * k_bE).sum(dim=1)
            negatives = [self.queue.negatives(q_bE, batch.video, mask_own_keys=self.mask_own_keys)]
            if self.batch_negatives:
                negatives += batch_negatives(q_bE, [gathered(k_bE)], batch.video)
            metrics = {
                "similarity_positive": positive_b.detach().mean(),
                "similarity_negatives": (q_bE.detach() @ self.queue.keys.T).mean(),
            }
            if n_bE is not None:
                disturbed_b = (q_bE * n_bE).sum(dim=1)
                negatives.append(disturbed_b[:, None])
                metrics["similarity_disturbed"] = disturbed_b.detach().mean()
                metrics["motion_accuracy"] = (positive_b > disturbed_b).float().mean()
            if self.loss == "triplet" and n_bE is not None:
                loss = triplets(q_bE, k_bE, n_bE, margin=self.margin)
            else:
                negative_bN = torch.cat(negatives, dim=1)
                loss = contrastive_loss([positive_b], negative_bN, temperature=self.temperature, form="outside")
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

    @torch.no_grad()
    def after_step(self, state: Mapping[str, Tensor], video: Tensor, progress: float) -> None:
        """Move the copy, enqueue the clean clips' keys."""
        momentum_update(self.key, self.query, scheduled_momentum(self.momentum, self.momentum_schedule, progress))
        self.queue.enqueue(state["key"], video)


def triplets(q_bE: Tensor, k_bE: Tensor, n_bE: Tensor, *, margin: float) -> Tensor:
    """``[|q - k| - |q - n| + margin]+``, n each sample's own negative, plus the same with the batch's in reverse."""
    near_b = (q_bE - k_bE).norm(dim=1)
    others = (n_bE, own_rows(gathered(n_bE).flip(0)))
    return sum((F.relu(near_b - (q_bE - n).norm(dim=1) + margin).mean() for n in others), near_b.new_zeros(()))
