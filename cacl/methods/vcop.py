"""VCOP (Xu et al., CVPR 2019): predict the order of the shuffled clips of a video.

The clips follow each other with a gap; each has a crop of its own. Every two of their features go through one layer,
and all of these together predict which of the L! orders is shown.

Shapes: B batch, C channels, T frames, D features of a clip, L clips, P = L (L - 1) / 2 pairs, H hidden, M = L! orders.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from cacl.data.clips.normalise import Standardise, standardised
from cacl.data.clips.sampling import ClipPlan, spaced_clips
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve, Mark
from cacl.methods.differences import log_difference
from cacl.models.cnn3d import CNN3D
from cacl.settings import MethodSettings, Positive, Settings


class VCOPSettings(MethodSettings):
    """The values of the authors' code."""

    published: ClassVar[Mapping[str, Any]] = {
        "data.stride": 1,
        "data.hold_out": "auto",
        "augment.flip": 0.0,
        "augment.jitter_p": 0.0,
        "augment.blur_p": 0.0,
        "optim.lr": 1e-3,
        "optim.weight_decay": 5e-4,
        "optim.schedule": "step",
        "optim.milestones": [],
        "optim.batch_size": 8,
        "optim.epochs": 300,
    }

    name: Literal["vcop"] = "vcop"
    clips: Annotated[int, Field(ge=2, le=4)] = 3
    gap: Annotated[int, Field(ge=0)] = 8  # frames between two clips
    hidden: Positive = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5

    def curves(self, frames: int) -> Sequence[Curve]:
        """How many orders are right."""
        return [order_curve(self.clips)]

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> VCOP:
        """VCOP of clips of ``data.frames`` frames, ``data.stride`` apart."""
        data = settings.data
        head = ClipOrder(
            network.num_features,
            clips=self.clips,
            frames=data.frames,
            stride=data.stride,
            gap=self.gap,
            hidden=self.hidden,
            dropout=self.dropout,
        )
        return VCOP(network, head, standardise=settings.model.standardise)


def order_curve(clips: int) -> Curve:
    """The panel of the accuracy among the orders of so many clips."""
    chance = 1 / math.factorial(clips)
    return Curve(
        "Order accuracy",
        {"order_accuracy": "training clips"},
        references=(Mark("chance", chance),),
        percent=True,
        shown={"order_accuracy": "order right"},
        chance=chance,
        advice="Try more epochs, a larger learning rate, or a larger data.stride where the videos move little.",
    )


class ClipOrder(nn.Module):
    """The head on the features of L shown clips, and the task that it learns."""

    name, title, ordered, advice = "order", "Clip order", False, "train with a larger data.stride"

    def __init__(
        self,
        features: int,
        *,
        clips: int = 3,
        frames: int = 16,
        stride: int = 1,
        gap: int = 8,
        hidden: int = 512,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.clips, self.frames, self.stride, self.gap, self.dropout = clips, frames, stride, gap, dropout
        self.orders = list(itertools.permutations(range(clips)))  # lexicographic: the first is the order of time
        self.values = tuple(range(len(self.orders)))
        self.pairs = list(itertools.combinations(range(clips), 2))
        self.pair = nn.Linear(2 * features, hidden)
        self.order = nn.Linear(hidden * len(self.pairs), len(self.orders))

    def forward(self, features: Sequence[Tensor], uniforms: Tensor | None = None) -> Tensor:
        """Logits ``[B, M]`` of the features ``[B, D]`` of the clips as shown; ``uniforms`` ``[B, P H]`` drop hidden."""
        hidden = [F.relu(self.pair(torch.cat([features[i], features[j]], dim=1))) for i, j in self.pairs]
        x = torch.cat(hidden, dim=1)
        if uniforms is not None and self.dropout > 0:
            x = x * (uniforms >= self.dropout) / (1 - self.dropout)
        logits: Tensor = self.order(x)
        return logits

    def draw(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """The order first, then the clips: position j shows clip ``order[j]``."""
        rank = int(rng.integers(len(self.orders)))
        clips = spaced_clips(n_frames, rng, clips=self.clips, frames=self.frames, stride=self.stride, gap=self.gap)
        return ClipPlan(tuple(clips[i] for i in self.orders[rank]), {self.name: np.array(rank)})

    def logits(self, encoder: nn.Module, clips: Sequence[Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Of clips as evaluation sees them."""
        logits: Tensor = self([encoder(clip) for clip in clips])
        return logits

    def differences(self, clips: Sequence[Tensor], targets: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
        """Of every two shown clips, the log of the difference between the end of the one and the start of the other."""
        pairs = itertools.permutations(range(self.clips), 2)
        return np.array([log_difference(clips[i][:, -1], clips[j][:, 0]) for i, j in pairs])


class VCOP(Method):
    """Cross entropy over the orders."""

    def __init__(self, network: CNN3D, head: ClipOrder, *, standardise: Standardise = "none") -> None:
        """``network`` encodes each clip by itself, with BatchNorm statistics of its own, as in the authors' code."""
        super().__init__()
        self.network, self.head, self.standardise = network, head, standardise
        self.views = tuple(View(clip=i, draw=i) for i in range(head.clips))
        self.uniforms = head.order.in_features

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """Clips in a random order."""
        return self.head.draw(n_frames, rng)

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Encode the clips as shown, predict their order."""
        features = torch.stack([self.network(standardised(view, self.standardise)) for view in batch.views])
        with torch.autocast(features.device.type, enabled=False):
            logits_BM = self.head(tuple(features), batch.uniforms if self.training else None)
            loss = F.cross_entropy(logits_BM, batch.targets["order"])
        right = (logits_BM.detach().argmax(dim=1) == batch.targets["order"]).float().mean()
        return StepOutput({MAIN: loss}, {"order_loss": loss}, {"order_accuracy": right}, features)

    def tasks(self) -> Sequence[ClipOrder]:
        """The order of clips."""
        return [self.head]
