"""IIC (Tao et al., ACM MM 2020): a clip and its residual frames agree; clips of destroyed time are negatives too.

One encoder sees the clip, the differences of its frames, and the clip with one frame repeated (or two quarters
exchanged). Three banks keep the last features of every video, one a kind. The clip is to find its video's row among the
residual rows of random videos, and the residual frames theirs among the clip rows; rows of destroyed clips are
negatives of both.

Shapes: b samples of this process, B of all, C channels, T frames, H W pixels, D features, V videos, K random rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cacl.data.clips.normalise import Standardise, standardised
from cacl.data.clips.sampling import ClipPlan, training_clip
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput
from cacl.methods.curves import Curve
from cacl.methods.permute import permute_frames
from cacl.models.cnn3d import CNN3D
from cacl.settings import MethodSettings, Positive, Rate, Settings, Unit

Destroy = Literal["repeat", "shuffle", "none"]
CHUNKS = 4  # a shuffle exchanges two of them
CURVES = (
    Curve("Similarity of a clip and its residual frames", {"similarity_positive": "positive"}),
    Curve("Similarity to random rows", {"similarity_negatives": "the other kind", "similarity_destroyed": "destroyed"}),
    Curve("Gradient norm at the encoder", {"grad_clip": "clip", "grad_residual": "residual frames"}, log=True),
)


class IICSettings(MethodSettings):
    """The values of the authors' code, but that features have unit length before they are compared."""

    published: ClassVar[Mapping[str, Any]] = {
        "data.stride": 1,
        "augment.flip": 0.0,
        "augment.jitter_p": 0.0,
        "augment.blur_p": 0.0,
        "model.network": "r3d10",
        "method.normalise": False,
        "optim.lr": 0.01,
        "optim.weight_decay": 1e-4,
        "optim.schedule": "step",
        "optim.milestones": [45, 90, 125, 160],
        "optim.milestone_factor": 0.2,
        "optim.batch_size": 16,
        "optim.epochs": 240,
    }

    name: Literal["iic"] = "iic"
    destroy: Destroy = "repeat"
    rows: Positive = 1024  # K
    temperature: Rate = 0.07
    bank_momentum: Unit = 0.5
    normalise: bool = True

    def curves(self, frames: int) -> Sequence[Curve]:
        """Similarities within and between the kinds."""
        return CURVES

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> IIC:
        """IIC with banks of so many videos."""
        return IIC(
            network,
            videos=videos,
            frames=settings.data.frames,
            stride=settings.data.stride,
            standardise=settings.model.standardise,
            **self.model_dump(exclude={"name"}),
        )


def residual(x_BCTHW: Tensor) -> Tensor:
    """``(x_t - x_(t-1) + 1) / 2`` of clips in [0, 1]; before the first frame comes the last."""
    return (x_BCTHW - x_BCTHW.roll(1, dims=2) + 1) / 2


def repeated(x_BCTHW: Tensor, uniforms_B: Tensor) -> Tensor:
    """One frame of each clip, all the time."""
    frames = x_BCTHW.shape[2]
    return permute_frames(x_BCTHW, (uniforms_B * frames).long()[:, None].expand(-1, frames))


def exchanged(x_BCTHW: Tensor, uniforms_B: Tensor) -> Tensor:
    """Two of each clip's quarters in each other's place; what four does not divide stays at the end."""
    long = x_BCTHW.shape[2] // CHUNKS
    order_PT = torch.arange(x_BCTHW.shape[2], device=x_BCTHW.device).repeat(6, 1)
    for pair, (i, j) in enumerate(itertools.combinations(range(CHUNKS), 2)):
        first, second = slice(i * long, (i + 1) * long), slice(j * long, (j + 1) * long)
        order_PT[pair, first], order_PT[pair, second] = order_PT[pair, second].clone(), order_PT[pair, first].clone()
    return permute_frames(x_BCTHW, order_PT[(uniforms_B * 6).long()])


class IIC(Method):
    """The encoder and the banks ``[3, V, D]``: clips, residual frames, destroyed clips."""

    bank: Tensor

    def __init__(
        self,
        network: CNN3D,
        *,
        videos: int,
        frames: int = 16,
        stride: int = 1,
        destroy: Destroy = "repeat",
        rows: int = 1024,
        temperature: float = 0.07,
        bank_momentum: float = 0.5,
        normalise: bool = True,
        standardise: Standardise = "none",
    ) -> None:
        """``destroy="none"`` has no third kind, as the baseline of the authors."""
        super().__init__()
        self.network, self.frames, self.stride, self.standardise = network, frames, stride, standardise
        self.destroy, self.rows, self.temperature, self.normalise = destroy, rows, temperature, normalise
        self.bank_momentum, self.uniforms = bank_momentum, rows + 1
        self.register_buffer("bank", F.normalize(torch.randn(3, videos, network.num_features), dim=2))

    @property
    def encoder(self) -> CNN3D:
        """The network; what is evaluated is its features of clips alone."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """One clip."""
        return ClipPlan(tuple(training_clip(n_frames, rng, frames=self.frames, stride=self.stride)))

    def destroyed(self, batch: MethodBatch) -> Tensor:
        """The third kind of clips."""
        change = repeated if self.destroy == "repeat" else exchanged
        return change(batch.views[0], batch.uniforms[:, -1])

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Cross entropies of both kinds, summed."""
        clips = [batch.views[0], residual(batch.views[0])]
        features_2bD = torch.stack([self.network(standardised(clip, self.standardise)) for clip in clips]).float()
        state = {"clip": features_2bD[0].detach(), "residual": features_2bD[1].detach()}
        if self.destroy != "none":
            with torch.no_grad():
                state["destroyed"] = self.network(standardised(self.destroyed(batch), self.standardise)).float()
        with torch.autocast(features_2bD.device.type, enabled=False):
            drawn_bK = (batch.uniforms[:, : self.rows] * self.bank.shape[1]).long()
            rows_bR = torch.cat([batch.video[:, None], drawn_bK], dim=1)  # its own row first
            shown = F.normalize(features_2bD, dim=2) if self.normalise else features_2bD
            clip, frames = (self.cosines(shown[kind], 1 - kind, rows_bR) for kind in (0, 1))
            far = [[self.cosines(one, 2, rows_bR)] if "destroyed" in state else [] for one in shown]
            terms = {"clip_loss": self.entropy(clip, *far[0]), "residual_loss": self.entropy(frames, *far[1])}
        metrics = {
            "similarity_positive": (clip[:, 0] + frames[:, 0]).detach().mean() / 2,
            "similarity_negatives": (clip[:, 1:] + frames[:, 1:]).detach().mean() / 2,
        }
        if far[0]:
            metrics["similarity_destroyed"] = (far[0][0] + far[1][0]).detach().mean() / 2
        return StepOutput({MAIN: terms["clip_loss"] + terms["residual_loss"]}, terms, metrics, features_2bD, state)

    def cosines(self, features_bD: Tensor, kind: int, rows_bR: Tensor) -> Tensor:
        """Of each feature with some rows of one bank, ``[b, R]``."""
        return torch.einsum("bd,brd->br", features_bD, self.bank[kind][rows_bR])

    def entropy(self, *cosines: Tensor) -> Tensor:
        """Cross entropy of the first column among all of them."""
        logits = torch.cat(cosines, dim=1) / self.temperature
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))

    @torch.no_grad()
    def after_step(self, state: Mapping[str, Tensor], video: Tensor, progress: float) -> None:
        """Each video's row moves towards its feature; of several samples of a video the last one counts."""
        later_BB = (video[:, None] == video[None, :]).triu(diagonal=1)
        last_B = ~later_BB.any(dim=1)
        for kind, features_BD in enumerate(state[name] for name in ("clip", "residual", "destroyed") if name in state):
            found = F.normalize(features_BD, dim=1) if self.normalise else features_BD
            moved = self.bank_momentum * self.bank[kind][video] + (1 - self.bank_momentum) * found
            self.bank[kind][video[last_B]] = F.normalize(moved, dim=1)[last_B].to(self.bank.dtype)
