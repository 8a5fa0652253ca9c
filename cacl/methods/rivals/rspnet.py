"""RSPNet (Chen et al., AAAI 2021): clips of equal speed are nearer than clips of another; so are clips of a video.

Two windows of a video, q and k. Of q every sample takes one of two speeds, half of the batch each. Of k a momentum copy
sees both: k+ at q's speed, k- at the other. One head learns relative speed, another the video, at whatever speed.

Shapes: B samples of the global batch, b of this process, T frames of a clip, r how much faster the fast one is, D
features, E = 128 embedding, K keys of the queue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cacl.data.clips.normalise import Standardise, standardised
from cacl.data.clips.sampling import ClipPlan, training_clip
from cacl.distributed.processes import gathered, own_rows
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve, Mark
from cacl.methods.losses import contrastive_loss
from cacl.methods.moco import Queue, batch_negatives, momentum_copy, momentum_update, scheduled_momentum
from cacl.methods.permute import formatted
from cacl.methods.rivals.moco_settings import MoCoSettings
from cacl.models.cnn3d import CNN3D
from cacl.models.heads import contrast_head
from cacl.settings import NotNegative, Settings


class RSPNetSettings(MoCoSettings):
    """The values of the authors' code; keys that are negatives are those of k-."""

    published: ClassVar[Mapping[str, Any]] = {
        "data.stride": 1,
        "augment.crop": "area",
        "augment.area": [0.4, 1.0],
        "augment.gray_p": 0.2,
        "augment.jitter": [0.4, 0.4, 0.4, 0.4],
        "augment.jitter_p": 1.0,
        "augment.blur_p": 0.0,
        "augment.mean": [0.485, 0.456, 0.406],
        "augment.std": [0.229, 0.224, 0.225],
        "optim.lr": 0.2,
        "optim.weight_decay": 1e-4,
        "optim.schedule": "cosine",
        "optim.batch_size": 128,
        "optim.epochs": 200,
    }

    name: Literal["rspnet"] = "rspnet"
    speed: Annotated[int, Field(ge=2, le=4)] = 2  # how much faster the fast clips are
    margin: NotNegative = 2.0  # of similarities that are divided by the temperature

    def curves(self, frames: int) -> Sequence[Curve]:
        """How often equal speed is nearer, and similarities."""
        return [
            Curve(
                "Relative speed",
                {"speed_accuracy": "equal speed is nearer"},
                references=(Mark("chance", 0.5),),
                percent=True,
                shown={"speed_accuracy": "speed right"},
                chance=0.5,
                advice="Try more epochs, a larger learning rate, or another data.stride.",
            ),
            *super().curves(frames),
        ]

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> RSPNet:
        """Clips of ``data.frames`` frames, ``data.stride`` or ``speed`` times that apart."""
        own = self.model_dump(exclude={"name"})
        return RSPNet(
            network,
            **own,
            frames=settings.data.frames,
            stride=settings.data.stride,
            standardise=settings.model.standardise,
            projection=settings.model.projection,
        )


class SpeedEncoder(nn.Module):
    """The network with its two heads: what has a momentum copy."""

    def __init__(
        self, network: CNN3D, *, standardise: Standardise = "none", projection: Literal["linear", "mlp"] = "linear"
    ) -> None:
        super().__init__()
        self.network, self.standardise = network, standardise
        self.motion = contrast_head(network.num_features, projection=projection)
        self.appearance = contrast_head(network.num_features, projection=projection)

    def features(self, x_bCTHW: Tensor) -> Tensor:
        """``[b, D]`` float32."""
        features: Tensor = self.network(standardised(x_bCTHW, self.standardise)).float()
        return features

    def embed(self, features_bD: Tensor) -> tuple[Tensor, Tensor]:
        """Unit rows ``[b, E]`` of the speed, and of the video."""
        with torch.autocast(features_bD.device.type, enabled=False):
            return F.normalize(self.motion(features_bD), dim=1), F.normalize(self.appearance(features_bD), dim=1)


class RSPNet(Method):
    """``mean max(0, margin - (s+ - s-)/t)``, plus InfoNCE of q with k+ and with k- against the queue."""

    views = (View(clip=0, draw=0), View(clip=1, draw=1))  # windows of ``speed * frames`` frames
    uniforms = 1

    def __init__(
        self,
        network: CNN3D,
        *,
        frames: int = 16,
        stride: int = 1,
        speed: int = 2,
        margin: float = 2.0,
        temperature: float = 0.07,
        momentum: float = 0.999,
        momentum_schedule: Literal["constant", "cosine"] = "constant",
        queue_size: int = 16384,
        mask_own_keys: bool = False,
        batch_negatives: bool = False,
        standardise: Standardise = "none",
        projection: Literal["linear", "mlp"] = "linear",
    ) -> None:
        super().__init__()
        self.frames, self.stride, self.speed, self.margin = frames, stride, speed, margin
        self.temperature, self.momentum, self.momentum_schedule = temperature, momentum, momentum_schedule
        self.mask_own_keys, self.batch_negatives = mask_own_keys, batch_negatives
        self.query = SpeedEncoder(network, standardise=standardise, projection=projection)
        self.key = momentum_copy(self.query)
        self.queue = Queue(queue_size)

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.query.network

    def networks(self) -> Sequence[nn.Module]:
        """The network and its copy."""
        return [self.query.network, self.key.network]

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """Two windows with independent starts, long enough for the fast clip; which speed is the batch's matter."""
        windows = training_clip(n_frames, rng, frames=self.speed * self.frames, stride=self.stride, moments=2)
        return ClipPlan(tuple(windows))

    def at_speed(self, window_bCTHW: Tensor, fast_b: Tensor) -> Tensor:
        """Of each window its first T frames, or where ``fast`` every r-th: ``[b, C, T, H, W]``."""
        slow, fast = window_bCTHW[:, :, : self.frames], window_bCTHW[:, :, :: self.speed]
        return formatted(torch.where(fast_b[:, None, None, None, None], fast, slow), like=window_bCTHW)

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Both losses; k is seen at both speeds."""
        fast_b = fast_half(batch.uniforms[:, 0])
        features_bD = self.query.features(self.at_speed(batch.views[0], fast_b))
        q_motion, q_appearance = self.query.embed(features_bD)
        with torch.no_grad():
            same, other = (
                self.key.embed(self.key.features(self.at_speed(batch.views[1], which))) for which in (fast_b, ~fast_b)
            )
        with torch.autocast(features_bD.device.type, enabled=False):
            nearer_b = (q_motion * (same[0] - other[0])).sum(dim=1)  # s+ - s-
            ranking = F.relu(self.margin - nearer_b / self.temperature).mean()
            negatives = [self.queue.negatives(q_appearance, batch.video, mask_own_keys=self.mask_own_keys)]
            if self.batch_negatives:
                negatives += batch_negatives(q_appearance, [gathered(other[1])], batch.video)
            negative_bN = torch.cat(negatives, dim=1)
            positives = [(q_appearance * key[1]).sum(dim=1) for key in (same, other)]
            # a mean over the two pairs with one log each, times two: their sum
            nce = 2 * contrastive_loss(positives, negative_bN, temperature=self.temperature, form="outside")
        metrics = {
            "speed_accuracy": (nearer_b.detach() > 0).float().mean(),
            "similarity_positive": torch.stack(positives).detach().mean(),
            "similarity_negatives": (q_appearance.detach() @ self.queue.keys.T).mean(),
        }
        terms = {"speed_loss": ranking, "nce": nce}
        return StepOutput({MAIN: ranking + nce}, terms, metrics, features_bD, {"key": other[1]})

    @torch.no_grad()
    def after_step(self, state: Mapping[str, Tensor], video: Tensor, progress: float) -> None:
        """Move the copy; into the queue goes, as in the authors' code, k- alone."""
        momentum_update(self.key, self.query, scheduled_momentum(self.momentum, self.momentum_schedule, progress))
        self.queue.enqueue(state["key"], video)


def fast_half(uniforms_b: Tensor) -> Tensor:
    """Bool ``[b]``: this process's part of a random half of the global batch (the larger where it is odd)."""
    rank_B = gathered(uniforms_b).argsort(stable=True).argsort()
    return own_rows(rank_B >= len(rank_B) // 2)
