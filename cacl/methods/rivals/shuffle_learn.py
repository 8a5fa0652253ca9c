"""Shuffle and Learn (Misra, Zitnick, Hebert, ECCV 2016): are three moments of a video in the order of time, or not?

Of five moments a < b < c < d < e, (b, c, d) is in order, (b, a, d) and (b, e, d) are not: only the middle one tells.
The moments are clips here, where the authors' were frames.

Shapes: B batch, D features of a clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from cacl.data.clips.normalise import Standardise, standardised
from cacl.data.clips.sampling import ClipPlan, TooShort, clip_window
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve, Mark
from cacl.methods.differences import log_difference
from cacl.models.cnn3d import CNN3D
from cacl.settings import MethodSettings, Positive, Settings

PAIRS = ((0, 1), (1, 2), (0, 2))


class ShuffleLearnSettings(MethodSettings):
    """The paper's values."""

    name: Literal["shuffle-learn"] = "shuffle-learn"
    positives: Annotated[float, Field(gt=0, lt=1)] = 0.25  # share of samples that are in order
    farthest: Annotated[int, Field(ge=2)] = 60  # frames from b to d at most
    nearest: Positive = 15  # frames from a to b, and from d to e, at least

    def curves(self, frames: int) -> Sequence[Curve]:
        """How many verdicts are right, beside saying always the same."""
        always = Mark("always the same", max(self.positives, 1 - self.positives))
        lines = {"order_accuracy": "training clips"}
        shown = {"order_accuracy": "order right"}
        return [Curve("Order accuracy", lines, references=(always,), percent=True, shown=shown)]

    def build(
        self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int
    ) -> ShuffleLearn:
        """Of clips of ``data.frames`` frames, ``data.stride`` apart."""
        head = Verification(
            network.num_features,
            frames=settings.data.frames,
            stride=settings.data.stride,
            **self.model_dump(exclude={"name"}),
        )
        return ShuffleLearn(network, head, standardise=settings.model.standardise)


class Verification(nn.Module):
    """The head on the features of three shown clips, and the task that it learns: 1 is in order, 0 is not."""

    name, title, ordered = "order", "Order verification", False
    values: tuple[int, ...] = (0, 1)
    advice = "train for more epochs, or with a larger data.stride"

    def __init__(
        self,
        features: int,
        *,
        frames: int = 16,
        stride: int = 1,
        positives: float = 0.25,
        farthest: int = 60,
        nearest: int = 15,
    ) -> None:
        super().__init__()
        self.frames, self.stride, self.positives = frames, stride, positives
        self.farthest, self.nearest = farthest, nearest
        self.order = nn.Linear(3 * features, 2)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``[B, 2]`` of the features ``[B, D]`` of the three clips as shown."""
        logits: Tensor = self.order(torch.cat(list(features), dim=1))
        return logits

    def starts(self, count: int, rng: np.random.Generator) -> tuple[int, int, int, int, int]:
        """a < b < c < d < e of ``count`` starts 0, 1 …; distances shrink where there are too few.

        Raises:
            TooShort: fewer than five.
        """
        if count < 5:
            raise TooShort(f"{count} possible starts, five are needed")
        near = min(self.nearest, (count - 3) // 2)
        apart = int(rng.integers(2, min(self.farthest, count - 1 - 2 * near) + 1))
        b = int(rng.integers(near, count - near - apart))
        d, far = b + apart, max(near, self.farthest)
        a = int(rng.integers(max(0, b - far), b - near + 1))
        e = int(rng.integers(d + near, min(count - 1, d + far) + 1))
        return a, b, int(rng.integers(b + 1, d)), d, e

    def triple(self, n_frames: int, rng: np.random.Generator, positives: float) -> ClipPlan:
        """What is asked first, then three clips. Shown the other way round the three are what they were."""
        in_order, before, turned = rng.random() < positives, rng.random() < 0.5, rng.random() < 0.5
        window = clip_window(n_frames, frames=self.frames, stride=self.stride)
        a, b, c, d, e = self.starts(window.starts, rng)
        three = (b, c if in_order else a if before else e, d)
        clip_T = window.stride * np.arange(self.frames, dtype=np.int64)
        return ClipPlan(
            tuple(start + clip_T for start in (three[::-1] if turned else three)), {self.name: np.array(int(in_order))}
        )

    def draw(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """For a test: as often in order as not."""
        return self.triple(n_frames, rng, 0.5)

    def logits(self, encoder: nn.Module, clips: Sequence[Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Of clips as evaluation sees them, where both classes are as frequent: without what training has of each."""
        prior = torch.tensor([1 - self.positives, self.positives], device=clips[0].device)
        logits: Tensor = self([encoder(clip) for clip in clips])
        return logits - prior.log()

    def differences(self, clips: Sequence[Tensor], targets: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
        """The log of the differences between the shown clips' middle frames, of every two."""
        middle = [clip[:, clip.shape[1] // 2] for clip in clips]
        return np.array([log_difference(middle[i], middle[j]) for i, j in PAIRS])


class ShuffleLearn(Method):
    """Cross entropy of two classes."""

    views = (View(clip=0, draw=0), View(clip=1, draw=0), View(clip=2, draw=0))

    def __init__(self, network: CNN3D, head: Verification, *, standardise: Standardise = "none") -> None:
        """``network`` encodes each clip by itself, with BatchNorm statistics of its own."""
        super().__init__()
        self.network, self.head, self.standardise = network, head, standardise

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """Three clips, a share of them in order."""
        return self.head.triple(n_frames, rng, self.head.positives)

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Encode the clips as shown, say whether they are in order."""
        features = torch.stack([self.network(standardised(view, self.standardise)) for view in batch.views])
        with torch.autocast(features.device.type, enabled=False):
            logits_B2 = self.head(tuple(features))
            loss = F.cross_entropy(logits_B2, batch.targets["order"])
        right = (logits_B2.detach().argmax(dim=1) == batch.targets["order"]).float().mean()
        return StepOutput({MAIN: loss}, {"order_loss": loss}, {"order_accuracy": right}, features)

    def tasks(self) -> Sequence[Verification]:
        """Whether clips are in order."""
        return [self.head]
