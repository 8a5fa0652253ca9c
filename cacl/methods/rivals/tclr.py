"""TCLR (Dave et al., CVIU 2022): features that are told apart along time, and not between videos alone.

A stretch of a video is seen as a whole and as four clips that follow each other, each under two augmentations. Against
the batch, the two views of each belong together; within a video the four clips are told apart; and each of the four
time slices of the whole one finds the clip of its time.

Shapes: b samples of this process, T frames, L clips (and slices) of a stretch, D features, E = 128 embedding.
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
from cacl.data.clips.sampling import ClipPlan, spaced_clips
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve, Mark
from cacl.methods.cvrl import nt_xent
from cacl.methods.permute import formatted
from cacl.models.cnn3d import CNN3D
from cacl.settings import MethodSettings, NotNegative, Rate, Settings

WIDTH = 128  # E


class TCLRSettings(MethodSettings):
    """The values of the authors' code."""

    published: ClassVar[Mapping[str, Any]] = {
        "data.stride": 1,
        "augment.crop": "area",
        "augment.area": [0.27, 0.75],
        "augment.gray_p": 0.175,
        "augment.jitter": [0.25, 0.25, 0.25, 0.1],
        "augment.jitter_p": 0.3,
        "augment.blur_p": 0.0,
        "model.network": "r3d18-tclr",
        "optim.optimizer": "adamw",
        "optim.lr": 1e-3,
        "optim.weight_decay": 1e-9,
        "optim.schedule": "step",
        "optim.milestones": [],
        "optim.warmup_epochs": 5.0,
        "optim.batch_size": 40,
        "optim.epochs": 1000,
    }

    name: Literal["tclr"] = "tclr"
    temperature: Rate = 0.1
    clips: Annotated[int, Field(ge=2, le=4)] = 4  # L
    between_clips: NotNegative = 1.0  # weights of the two losses within a video
    between_slices: NotNegative = 1.0

    def curves(self, frames: int) -> Sequence[Curve]:
        """How many slices find their clip, and similarities."""
        chance, lines = Mark("chance", 1 / self.clips), {"slice_accuracy": "training clips"}
        return (
            Curve("Slices that find their clip", lines, (chance,), percent=True, shown={"slice_accuracy": "slices"}),
            Curve("Similarity of the two views of a stretch", {"similarity_positive": "of the whole"}),
        )

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> TCLR:
        """TCLR of clips of ``data.frames`` frames, ``data.stride`` apart."""
        return TCLR(
            network,
            frames=settings.data.frames,
            stride=settings.data.stride,
            standardise=settings.model.standardise,
            **self.model_dump(exclude={"name"}),
        )


class TCLR(Method):
    """``network`` and one head; ``forward`` has the three losses in the order of the paper."""

    def __init__(
        self,
        network: CNN3D,
        *,
        frames: int = 16,
        stride: int = 1,
        clips: int = 4,
        temperature: float = 0.1,
        between_clips: float = 1.0,
        between_slices: float = 1.0,
        standardise: Standardise = "none",
    ) -> None:
        super().__init__()
        self.network, self.frames, self.stride, self.clips = network, frames, stride, clips
        self.temperature, self.weights, self.standardise = temperature, (between_clips, between_slices), standardise
        wide = network.num_features
        self.contrast = nn.Sequential(
            nn.Linear(wide, wide, bias=False),
            nn.BatchNorm1d(wide),
            nn.ReLU(),
            nn.Linear(wide, WIDTH, bias=False),
            nn.BatchNorm1d(WIDTH),
        )
        # both views of the whole, then the first view of each clip, then the second; each with a crop of its own
        order = [(0, 0), (0, 1), *((1 + clip, view) for view in (0, 1) for clip in range(clips))]
        self.views = tuple(View(clip=clip, draw=2 * clip + view) for clip, view in order)

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """The whole stretch in as many frames as make L slices, then its L clips, one after the other."""
        clips_LT = spaced_clips(n_frames, rng, clips=self.clips, frames=self.frames, stride=self.stride, gap=0)
        slices = self.network.time_stride * self.clips
        whole = clips_LT.reshape(-1)[np.arange(slices) * clips_LT.size // slices]
        return ClipPlan((whole, *clips_LT))

    def features(self, batch: MethodBatch) -> tuple[Tensor, Tensor]:
        """Of the slices of the whole and of the clips, ``[2, L, b, D]`` each."""
        seen = [standardised(view, self.standardise) for view in batch.views]
        whole, clips = (formatted(torch.cat(part), like=seen[0]) for part in (seen[:2], seen[2:]))
        slices_2bDL = self.network.forward_features(whole).float().mean(dim=(3, 4))
        slices_2LbD = torch.stack(slices_2bDL.chunk(2)).permute(0, 3, 1, 2)
        return slices_2LbD, self.network(clips).view(2, self.clips, -1, slices_2LbD.shape[-1])

    def forward(self, batch: MethodBatch) -> StepOutput:
        """NT-Xent between videos, between the clips of each video, and of slices with clips."""
        features_nbD = torch.cat([part.flatten(0, 1) for part in self.features(batch)])  # slices, then clips
        with torch.autocast(features_nbD.device.type, enabled=False):
            slices_2LbD, clips_2LbD = features_nbD.view(2, 2, self.clips, *features_nbD.shape[1:])
            whole_2bE, slices_2LbE, clips_2LbE = map(self.embedded, (slices_2LbD.mean(1), slices_2LbD, clips_2LbD))
            video = self.between_videos(whole_2bE, batch.video)
            for clip in range(self.clips):
                video = video + self.between_videos(clips_2LbE[:, clip], batch.video) / self.clips
            terms = {"video_loss": video, "clip_loss": between_clips(clips_2LbE, temperature=self.temperature)}
            terms["slice_loss"], right = between_slices(slices_2LbE, clips_2LbE, temperature=self.temperature)
            alike = (whole_2bE[0] * whole_2bE[1]).detach().sum(dim=1).mean()
        metrics = {"slice_accuracy": right, "similarity_positive": alike}
        total = video + self.weights[0] * terms["clip_loss"] + self.weights[1] * terms["slice_loss"]
        return StepOutput({MAIN: total}, terms, metrics, features_nbD)

    def embedded(self, features: Tensor) -> Tensor:
        """Unit rows, ``[…, E]``, with BatchNorm over all rows."""
        found: Tensor = F.normalize(self.contrast(features.flatten(0, -2)), dim=1)
        return found.view(*features.shape[:-1], WIDTH)

    def between_videos(self, views_2bE: Tensor, video_b: Tensor) -> Tensor:
        """NT-Xent of two views against the batch, as CVRL's."""
        return nt_xent(views_2bE[0], views_2bE[1], video_b, temperature=self.temperature)[0]

    @torch.no_grad()
    def embeddings(self, batch: MethodBatch) -> Mapping[str, Tensor]:
        """Of the two views of the whole, ``first`` and ``second``."""
        first, second = self.embedded(self.features(batch)[0].mean(1))
        return {"first": first, "second": second}


def between_clips(clips_2LbE: Tensor, *, temperature: float) -> Tensor:
    """NT-Xent within each video: of a view of a clip its other view, against both views of the video's other clips."""
    count = 2 * clips_2LbE.shape[1]
    rows_bNE = clips_2LbE.flatten(0, 1).transpose(0, 1)
    itself = torch.eye(count, dtype=torch.bool, device=rows_bNE.device)
    logits_bNN = (rows_bNE @ rows_bNE.transpose(1, 2) / temperature).masked_fill(itself, -torch.inf)
    other_N = torch.arange(count, device=rows_bNE.device).roll(count // 2)
    return F.cross_entropy(logits_bNN.flatten(0, 1), other_N.repeat(len(rows_bNE)))


def between_slices(slices_2LbE: Tensor, clips_2LbE: Tensor, *, temperature: float) -> tuple[Tensor, Tensor]:
    """Cross entropy of each slice over the clips of its video and of each clip over the slices, of all pairs of views.

    Returns:
        The mean, and how many slices are nearest to the clip of their time.
    """
    logits_22bLL = torch.einsum("ulbe,vmbe->uvblm", slices_2LbE, clips_2LbE) / temperature
    logits_NLL = logits_22bLL.flatten(0, 2)
    aims_NL = torch.arange(logits_NLL.shape[1], device=logits_NLL.device).expand(len(logits_NLL), -1)
    loss = (F.cross_entropy(logits_NLL.mT, aims_NL) + F.cross_entropy(logits_NLL, aims_NL)) / 2
    return loss, (logits_NLL.detach().argmax(dim=2) == aims_NL).float().mean()
