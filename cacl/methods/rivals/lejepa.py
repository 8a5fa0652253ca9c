"""LeJEPA (Balestriero and LeCun, 2025, arXiv 2511.08544), of two clips of a video: near each other, Gaussian over all.

No momentum copy, no queue, no negatives: embeddings of the two clips are drawn together, and those of all videos
towards a standard normal distribution, which a network that sees everything alike cannot give. That is measured along
random directions (SIGReg, section 4).

Shapes: B samples of the global batch, b of this process, D features, E = 128 embedding, M directions, K points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cacl.data.clips.normalise import Standardise, standardised
from cacl.data.clips.sampling import ClipPlan, training_clip
from cacl.distributed.processes import gathered
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve
from cacl.methods.permute import formatted
from cacl.models.cnn3d import CNN3D
from cacl.models.heads import contrast_head
from cacl.settings import MethodSettings, Positive, Settings

POINTS, LAST = 17, 3.0  # of the characteristic function: from 0 to 3, the other half is its mirror image
WIDTH = 128  # E


class LeJEPASettings(MethodSettings):
    """The paper's values."""

    name: Literal["lejepa"] = "lejepa"
    normality: Annotated[float, Field(gt=0, lt=1)] = 0.05  # the share of SIGReg in the loss, the paper's lambda
    directions: Positive = 256  # M

    def curves(self, frames: int) -> Sequence[Curve]:
        """Both parts of the loss, and the similarity of the two clips."""
        parts = {"invariance": "distance of the two clips", "sigreg": "not normal"}
        return (
            Curve("Parts of the loss", parts, log=True, shown={"sigreg": "not normal"}),
            Curve("Similarity of the two clips", {"similarity_positive": "of one video"}),
            Curve("Gradient norm at the encoder", {f"grad_{name}": what for name, what in parts.items()}, log=True),
        )

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> LeJEPA:
        """LeJEPA of clips as ``data`` says; with two moments the clips are of different ones."""
        return LeJEPA(
            network,
            frames=settings.data.frames,
            stride=settings.data.stride,
            moments=settings.data.moments,
            standardise=settings.model.standardise,
            projection=settings.model.projection,
            **self.model_dump(exclude={"name"}),
        )


class LeJEPA(Method):
    """``network`` and its head see both clips in one pass, so that they share BatchNorm statistics."""

    shared = 1

    def __init__(
        self,
        network: CNN3D,
        *,
        frames: int = 16,
        stride: int = 2,
        moments: int = 2,
        normality: float = 0.05,
        directions: int = 256,
        standardise: Standardise = "none",
        projection: Literal["linear", "mlp"] = "mlp",
    ) -> None:
        super().__init__()
        self.frames, self.stride, self.moments, self.standardise = frames, stride, moments, standardise
        self.normality, self.directions = normality, directions
        self.network = network
        self.head = contrast_head(network.num_features, projection=projection, out=WIDTH)
        self.views = (View(clip=0, draw=0), View(clip=moments - 1, draw=1))

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """A clip, or two of different moments; starts are uniform."""
        clips = training_clip(n_frames, rng, frames=self.frames, stride=self.stride, moments=self.moments)
        return ClipPlan(tuple(clips))

    def forward(self, batch: MethodBatch) -> StepOutput:
        """``(1 - lambda)`` times the distance of the clips to their mean, and lambda times SIGReg of each view."""
        views = [standardised(view, self.standardise) for view in batch.views]
        features_nD = self.network(formatted(torch.cat(views), like=views[0])).float()
        with torch.autocast(features_nD.device.type, enabled=False):
            clips_2bE = torch.stack(self.head(features_nD).chunk(2))
            invariance = (clips_2bE - clips_2bE.mean(dim=0)).square().mean()
            axes_EM = random_directions(WIDTH, self.directions, batch.shared[0]).to(clips_2bE)
            sigreg = torch.stack([epps_pulley(gathered(clip_bE) @ axes_EM) for clip_bE in clips_2bE]).mean()
            loss = (1 - self.normality) * invariance + self.normality * sigreg
        alike = F.cosine_similarity(*clips_2bE.detach()).mean()
        terms = {"invariance": invariance, "sigreg": sigreg}
        return StepOutput({MAIN: loss}, terms, {"similarity_positive": alike}, torch.stack(features_nD.chunk(2)))

    @torch.no_grad()
    def embeddings(self, batch: MethodBatch) -> Mapping[str, Tensor]:
        """Of the two clips, ``first`` and ``second``, at length 1."""
        features = [self.network(standardised(view, self.standardise)).float() for view in batch.views]
        first, second = (F.normalize(self.head(one), dim=1) for one in features)
        return {"first": first, "second": second}


def random_directions(dimensions: int, count: int, share: Tensor) -> Tensor:
    """Unit columns ``[E, M]``, uniform on the sphere, a function of one number in [0, 1): the same on every process."""
    numbers = torch.Generator().manual_seed(int(float(share) * 2**24))
    return F.normalize(torch.randn(dimensions, count, generator=numbers), dim=0)


def epps_pulley(sample_BM: Tensor) -> Tensor:
    """How far each column is from a sample of the standard normal distribution, the mean over columns (section 4.2).

    ``B`` times the integral, over all t and weighed by ``exp(-t^2 / 2)``, of the squared distance between the sample's
    characteristic function and the normal one, by the trapezoidal rule (Epps and Pulley 1983).
    """
    t_K = torch.linspace(0, LAST, POINTS, dtype=sample_BM.dtype, device=sample_BM.device)
    normal_K = torch.exp(-t_K.square() / 2)
    angle_BMK = sample_BM[..., None] * t_K
    error_MK = (angle_BMK.cos().mean(dim=0) - normal_K).square() + angle_BMK.sin().mean(dim=0).square()
    return 2 * len(sample_BM) * torch.trapezoid(error_MK * normal_K, t_K, dim=1).mean()
