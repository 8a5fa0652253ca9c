"""OPN (Lee et al., ICCV 2017): the order of four moments of a video, up to reversal, with the head that VCOP took over.

The moments are clips here, where the authors' were frames. Each has a crop of its own (spatial jitter), and all of them
show one random colour channel three times (channel splitting), so that neither place nor colour tells the order.

Shapes: B batch, C channels, D features of a clip, M = 12 orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

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
from cacl.methods.permute import formatted
from cacl.methods.vcop import ClipOrder
from cacl.models.cnn3d import CNN3D
from cacl.settings import MethodSettings, Positive, Settings

CLIPS = 4
ORDERS = 12
CURVE = Curve(
    "Order accuracy",
    {"order_accuracy": "training clips"},
    references=(Mark("chance", 1 / ORDERS),),
    percent=True,
    shown={"order_accuracy": "order right"},
    chance=1 / ORDERS,
    advice="Try more epochs, a larger learning rate, or a larger data.stride where the videos move little.",
)


class OPNSettings(MethodSettings):
    """The paper's values, but for the gap, which is VCOP's."""

    name: Literal["opn"] = "opn"
    gap: Annotated[int, Field(ge=0)] = 8  # frames between two clips
    hidden: Positive = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    split_channels: bool = True

    def curves(self, frames: int) -> Sequence[Curve]:
        """How many orders are right."""
        return (CURVE,)

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> OPN:
        """OPN of clips of ``data.frames`` frames, ``data.stride`` apart."""
        head = OrderUpToReversal(
            network.num_features,
            split=self.split_channels,
            frames=settings.data.frames,
            stride=settings.data.stride,
            **self.model_dump(include={"gap", "hidden", "dropout"}),
        )
        return OPN(network, head, standardise=settings.model.standardise)


class OrderUpToReversal(ClipOrder):
    """VCOP's head on four clips; an order and its reversal are one class."""

    title = "Clip order up to reversal"

    def __init__(self, features: int, *, split: bool = True, **options: Any) -> None:
        """``options`` are those of VCOP's head; with ``split`` a test shows one channel, too."""
        super().__init__(features, clips=CLIPS, **options)
        self.split = split
        self.orders = [order for order in self.orders if order[0] < order[-1]]
        self.values = tuple(range(len(self.orders)))
        self.order = nn.Linear(self.order.in_features, len(self.orders))

    def draw(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """The class and which of its two orders first, then the clips: position j shows clip ``order[j]``."""
        rank, backwards = int(rng.integers(len(self.orders))), int(rng.integers(2))
        order = self.orders[rank][::-1] if backwards else self.orders[rank]
        clips = spaced_clips(n_frames, rng, clips=CLIPS, frames=self.frames, stride=self.stride, gap=self.gap)
        return ClipPlan(tuple(clips[i] for i in order), {self.name: np.array(rank)})

    def logits(self, encoder: nn.Module, clips: Sequence[Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Of clips as evaluation sees them, of the second channel where channels are split."""
        second_B = torch.ones(len(clips[0]), dtype=torch.int64, device=clips[0].device)
        return super().logits(encoder, [one_channel(clip, second_B) if self.split else clip for clip in clips], targets)

    def differences(self, clips: Sequence[Tensor], targets: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
        """As VCOP's, of the second channel where channels are split."""
        return super().differences([clip[1:2] if self.split else clip for clip in clips], targets)


def one_channel(x_BCTHW: Tensor, channel_B: Tensor) -> Tensor:
    """One channel of each clip, in the place of all of them."""
    rows_B = torch.arange(len(x_BCTHW), device=x_BCTHW.device)
    return formatted(x_BCTHW[rows_B, channel_B][:, None].expand_as(x_BCTHW), like=x_BCTHW)


class OPN(Method):
    """Cross entropy over the orders."""

    views = tuple(View(clip=i, draw=i) for i in range(CLIPS))

    def __init__(self, network: CNN3D, head: OrderUpToReversal, *, standardise: Standardise = "none") -> None:
        """``network`` encodes each clip by itself, with BatchNorm statistics of its own."""
        super().__init__()
        self.network, self.head, self.standardise = network, head, standardise
        self.uniforms = head.order.in_features + 1

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """Clips in a random order."""
        return self.head.draw(n_frames, rng)

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Encode the clips as shown, predict their order."""
        clips = [standardised(view, self.standardise) for view in batch.views]
        if self.head.split:
            channel_B = (3 * batch.uniforms[:, -1]).long()
            clips = [one_channel(clip, channel_B) for clip in clips]
        features = torch.stack([self.network(clip) for clip in clips])
        with torch.autocast(features.device.type, enabled=False):
            logits_BM = self.head(tuple(features), batch.uniforms[:, :-1] if self.training else None)
            loss = F.cross_entropy(logits_BM, batch.targets["order"])
        right = (logits_BM.detach().argmax(dim=1) == batch.targets["order"]).float().mean()
        return StepOutput({MAIN: loss}, {"order_loss": loss}, {"order_accuracy": right}, features)

    def tasks(self) -> Sequence[OrderUpToReversal]:
        """The order of clips."""
        return [self.head]
