"""Pace Prediction (Wang, Jiao, Liu, ECCV 2020): how fast does a clip play, and, with contrast, what belongs together?

A clip takes every p-th frame, p drawn; a linear layer names p. ``pace+context`` shows two clips of a video, each at a
pace of its own, and draws them together against the batch; or draws clips of equal pace together, whatever their video.

Shapes: B samples of the global batch, b of this process, n clips of this process, N of all, T frames, D features, M
paces, E = 128 embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from cacl.data.clips.normalise import Standardise, standardised
from cacl.data.clips.sampling import ClipPlan
from cacl.distributed.processes import gathered, rank, summed, world
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import MOCO_CURVES, Curve, Mark
from cacl.methods.cvrl import nt_xent
from cacl.methods.differences import frame_differences, seven_numbers
from cacl.methods.permute import formatted
from cacl.models.cnn3d import CNN3D
from cacl.models.heads import contrast_head
from cacl.settings import MethodSettings, NotNegative, Rate, Settings


class PaceSettings(MethodSettings):
    """The values of the authors' code; ``small`` colours whole clips, as for every method."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"small": {"jitter": "clip"}}

    published: ClassVar[Mapping[str, Any]] = {
        "data.stride": 1,
        "augment.jitter": [0.8, 0.8, 0.8, 0.2],
        "augment.blur_p": 0.0,
        "optim.lr": 1e-3,
        "optim.weight_decay": 5e-3,
        "optim.schedule": "step",
        "optim.milestones": [60, 120],
        "optim.batch_size": 30,
        "optim.epochs": 180,
    }

    name: Literal["pace", "pace+context"] = "pace"
    paces: Annotated[int, Field(ge=2, le=8)] = 4  # 1 … paces times data.stride
    jitter: Literal["frame", "clip"] = "frame"  # colours of every frame, or clip, by itself

    def curves(self, frames: int) -> Sequence[Curve]:
        """How many paces are right."""
        return [pace_curve(self.paces)]

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> Pace:
        """Clips of ``data.frames`` frames, ``data.stride`` times the pace apart."""
        return Pace(network, self.head(settings, network), jitter=self.jitter, standardise=settings.model.standardise)

    def head(self, settings: Settings, network: CNN3D) -> ClipPace:
        """What names the pace."""
        data = settings.data
        return ClipPace(network.num_features, paces=self.paces, frames=data.frames, stride=data.stride)


class PaceContextSettings(PaceSettings):
    """With the paper's second term, of which the authors' code has nothing: temperature and head are proposals."""

    name: Literal["pace+context"] = "pace+context"
    positives: Literal["context", "pace"] = "context"  # clips of a video, or clips of equal pace
    contrast_weight: NotNegative = 0.1
    temperature: Rate = 0.07

    def curves(self, frames: int) -> Sequence[Curve]:
        """How many paces are right; similarity of positives and negatives."""
        return [pace_curve(self.paces), *MOCO_CURVES]

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> Pace:
        """Two clips of each video."""
        return Pace(
            network,
            self.head(settings, network),
            jitter=self.jitter,
            positives=self.positives,
            contrast_weight=self.contrast_weight,
            temperature=self.temperature,
            standardise=settings.model.standardise,
            projection=settings.model.projection,
        )


def pace_curve(paces: int) -> Curve:
    """The panel of the accuracy among so many paces."""
    return Curve(
        "Pace accuracy",
        {"pace_accuracy": "training clips"},
        references=(Mark("chance", 1 / paces),),
        percent=True,
        shown={"pace_accuracy": "pace right"},
        chance=1 / paces,
        advice="Try more epochs, a larger learning rate, or another data.stride.",
    )


def paced_clip(n_frames: int, start: int, *, step: int, frames: int) -> NDArray[np.int64]:
    """``start, start + step, …``, and from frame 0 again where the video ends, as the authors' code: int64 ``[T]``."""
    indices = [start]
    while len(indices) < frames:
        indices.append(indices[-1] + step if indices[-1] + step < n_frames else 0)
    return np.array(indices, dtype=np.int64)


class ClipPace(nn.Module):
    """The head on the features of a clip, and the task that it learns."""

    name, title, ordered, advice = "pace", "Pace", True, "change data.stride"

    def __init__(self, features: int, *, paces: int = 4, frames: int = 16, stride: int = 1) -> None:
        super().__init__()
        self.frames, self.stride = frames, stride
        self.values = tuple(range(1, paces + 1))
        self.linear = nn.Linear(features, paces)

    def forward(self, features_nD: Tensor) -> Tensor:
        """Logits ``[n, M]``."""
        logits: Tensor = self.linear(features_nD)
        return logits

    def draw(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """The pace first, then a start anywhere in the video."""
        pace, start = int(rng.integers(len(self.values))), int(rng.integers(n_frames))
        clip_T = paced_clip(n_frames, start, step=self.values[pace] * self.stride, frames=self.frames)
        return ClipPlan((clip_T,), {self.name: np.array(pace)})

    def logits(self, encoder: nn.Module, clips: Sequence[Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Of the clip as evaluation sees it."""
        logits: Tensor = self(encoder(clips[0]))
        return logits

    def differences(self, clips: Sequence[Tensor], targets: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
        """Seven numbers of the clip (fewer of clips below five frames)."""
        return np.array(seven_numbers(frame_differences(clips[0])))


class Pace(Method):
    """Cross entropy over the paces, plus ``contrast_weight`` times a contrast where there are ``positives``."""

    def __init__(
        self,
        network: CNN3D,
        head: ClipPace,
        *,
        jitter: Literal["frame", "clip"] = "frame",
        positives: Literal["none", "context", "pace"] = "none",
        contrast_weight: float = 0.1,
        temperature: float = 0.07,
        standardise: Standardise = "none",
        projection: Literal["linear", "mlp"] = "mlp",
    ) -> None:
        """With ``positives`` a sample is two clips, which go through ``network`` together."""
        super().__init__()
        self.network, self.head, self.positives, self.standardise = network, head, positives, standardise
        self.contrast_weight, self.temperature = contrast_weight, temperature
        self.contrast = None if positives == "none" else contrast_head(network.num_features, projection=projection)
        self.views = tuple(View(clip=i, draw=i, jitter=jitter) for i in range(1 if self.contrast is None else 2))

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """As many clips as there are views, each with a pace and a start of its own."""
        plans = [self.head.draw(n_frames, rng) for _ in self.views]
        targets = {("pace", "second_pace")[i]: plan.targets["pace"] for i, plan in enumerate(plans)}
        return ClipPlan(tuple(plan.clips[0] for plan in plans), targets)

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Encode, name the paces, draw together."""
        views = [standardised(view, self.standardise) for view in batch.views]
        features_nD = self.network(formatted(torch.cat(views), like=views[0])).float()
        stacked = torch.stack(features_nD.chunk(len(views)))  # here each term's gradient is measured
        features_nD, pace_n = stacked.flatten(0, 1), torch.cat(list(batch.targets.values()))
        with torch.autocast(features_nD.device.type, enabled=False):
            logits_nM = self.head(features_nD)
            total = F.cross_entropy(logits_nM, pace_n)
            terms = {"pace_loss": total}
            metrics = {"pace_accuracy": (logits_nM.detach().argmax(dim=1) == pace_n).float().mean()}
            if self.contrast is not None:
                own_nE = F.normalize(self.contrast(features_nD), dim=1)
                if self.positives == "context":
                    first, second = own_nE.chunk(2)
                    loss, similarity = nt_xent(first, second, batch.video, temperature=self.temperature)
                else:
                    loss, similarity = same_pace(own_nE, pace_n, temperature=self.temperature)
                terms["nce"], metrics = loss, metrics | similarity
                total = total + self.contrast_weight * loss
        return StepOutput({MAIN: total}, terms, metrics, stacked)

    def tasks(self) -> Sequence[ClipPace]:
        """The pace of a clip."""
        return [self.head]


def same_pace(own_nE: Tensor, pace_n: Tensor, *, temperature: float) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean over clips, and of each over the others of its pace, of ``-log(e^(p/t) / (e^(p/t) + sum_n e^(n/t)))``.

    p is the cosine with the other clip, n those with all clips of other paces, of all processes. A clip that has its
    pace alone has no positive and is left out.

    Args:
        own_nE: unit rows.
        pace_n: int64, the pace of each.
        temperature: above 0.

    Returns:
        The loss, and the mean cosines ``similarity_positive`` and ``similarity_negatives``.
    """
    cosine_nN = own_nE @ gathered(own_nE).T
    same_nN = pace_n[:, None] == gathered(pace_n)[None, :]
    itself_n = rank() * len(pace_n) + torch.arange(len(pace_n), device=pace_n.device)
    positive_nN = same_nN & ~F.one_hot(itself_n, same_nN.shape[1]).bool()
    logits_nN = cosine_nN / temperature
    negatives_n1 = logits_nN.masked_fill(same_nN, -torch.inf).logsumexp(dim=1, keepdim=True)
    each_nN = torch.logaddexp(logits_nN, negatives_n1) - logits_nN
    positives_n = positive_nN.sum(dim=1)
    of_clip_n = (each_nN * positive_nN).sum(dim=1) / positives_n.clamp(min=1)
    counted = summed((positives_n > 0).sum()).clamp(min=1) / world()  # the mean over processes is over all clips
    cosine_nN, negatives_n = cosine_nN.detach(), (~same_nN).sum(dim=1).clamp(min=1)
    metrics = {
        "similarity_positive": ((cosine_nN * positive_nN).sum(dim=1) / positives_n.clamp(min=1)).sum() / counted,
        "similarity_negatives": ((cosine_nN * ~same_nN).sum(dim=1) / negatives_n).mean(),
    }
    return of_clip_n.sum() / counted, metrics
