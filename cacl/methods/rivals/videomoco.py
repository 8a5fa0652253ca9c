"""VideoMoCo (Pan et al., CVPR 2021): MoCo whose query loses the frames that an adversary chooses; old keys weigh less.

A generator scores the frames of a clip. The quarter with the lowest scores is replaced, each frame by its own mean, in
the query alone. The generator is trained to move the query's embedding as far as it can, the encoder by InfoNCE, in
which the cosine with a key of age a (in steps) is weighed by ``t^a``.

Shapes: B batch (b of this process), C channels, T frames, H W pixels, E embedding, K keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from cacl.data.clips.sampling import ClipPlan, training_clip
from cacl.methods.contract import MAIN, Group, MethodBatch, StepOutput, View
from cacl.methods.moco import MoCo, Queue
from cacl.methods.rivals.moco_settings import SMALL, MoCoSettings
from cacl.models.cnn3d import CNN3D
from cacl.sections import section
from cacl.settings import Auto, Positive, Settings

Adversary = Literal["straight-through", "fixed"]
HIDDEN = 64  # of the LSTM, each direction


class VideoMoCoSettings(MoCoSettings):
    """The values of the authors' code; ``fixed`` is what its generator comes to, as it has no gradient."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "released": {"adversary": "fixed", "jitter": "frame"},
        "small": SMALL,
    }

    published: ClassVar[Mapping[str, Any]] = {
        "data.stride": 1,
        "augment.crop": "area",
        "augment.area": [0.2, 1.0],
        "augment.gray_p": 0.2,
        "augment.jitter": [0.4, 0.4, 0.4, 0.4],
        "augment.jitter_p": 1.0,
        "augment.blur_p": 0.0,
        "model.network": "r3d18",
        "optim.lr": 0.03,
        "optim.weight_decay": 1e-4,
        "optim.schedule": "step",
        "optim.milestones": [120, 160],
        "optim.batch_size": 256,
        "optim.epochs": 200,
    }

    name: Literal["videomoco"] = "videomoco"
    queue_size: Auto | Positive = 65536
    adversary: Adversary = "straight-through"
    generator_weight: Annotated[float, Field(gt=0)] = 100.0
    drop: Annotated[float, Field(gt=0, lt=1)] = 0.25  # share of the frames
    decay: Annotated[float, Field(gt=0, le=1)] = 0.99999  # t
    jitter: Literal["clip", "frame"] = "clip"

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> VideoMoCo:
        """VideoMoCo of clips as ``data`` says; with two moments the key is of another one."""
        return VideoMoCo(
            network,
            frames=settings.data.frames,
            stride=settings.data.stride,
            moments=settings.data.moments,
            size=settings.augment.size,
            **self.model_dump(include={"adversary", "generator_weight", "drop", "decay", "jitter"}),
            **self.options(settings),
        )


class Generator(nn.Module):
    """Scores of a clip's frames, ``[B, T]``, each row a softmax, of clips ``[B, 3, T, size, size]``.

    The clip is an image of 3 T channels: a dilated convolution three times over, parallel dilations, one map a frame,
    pooled; then an LSTM reads the frames' maps in both directions.
    """

    def __init__(self, *, frames: int, size: int) -> None:
        super().__init__()
        wide = 3 * frames
        self.dilated = nn.Sequential(
            nn.Conv2d(wide, wide, 3, padding=2, dilation=2, bias=False),
            nn.BatchNorm2d(wide, eps=1e-3),
            nn.ReLU(),
            nn.MaxPool2d(2, 1),
        )
        dilations = [nn.Conv2d(wide, wide, 3, padding=d, dilation=d) for d in (6, 12, 18)]
        self.pyramid = nn.ModuleList([nn.Conv2d(wide, wide, 1), *dilations])
        self.image = nn.Conv2d(wide, wide, 1)
        self.merge = nn.Conv2d(5 * wide, wide, 1)
        self.narrow = nn.Sequential(nn.Conv2d(wide, frames, 3, padding=1), nn.BatchNorm2d(frames), nn.ReLU())
        self.shared = nn.Sequential(nn.Conv2d(frames, frames, 3, padding=1), nn.BatchNorm2d(frames), nn.ReLU())
        side = (size - 3) // 8  # three pools of stride 1, three of stride 2
        self.lstm = nn.LSTM(side * side, HIDDEN, bidirectional=True, batch_first=True)
        self.score = nn.Linear(2 * HIDDEN, frames)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """See the class."""
        x = x_BCTHW.transpose(1, 2).flatten(1, 2).contiguous()
        for _ in range(3):
            x = self.dilated(x)
        image = self.image(x.mean(dim=(2, 3), keepdim=True)).expand_as(x)
        x = self.narrow(self.merge(torch.cat([image, *(branch(x) for branch in self.pyramid)], dim=1)))
        for _ in range(3):
            x = F.avg_pool2d(self.shared(self.shared(x)), 2)
        states_BTH, _ = self.lstm(x.flatten(2))
        scores: Tensor = self.score(states_BTH[:, -1]).softmax(dim=1)
        return scores


def dropped(x_BCTHW: Tensor, scores_BT: Tensor, drop: float) -> Tensor:
    """Clips whose frames of the lowest scores, a share of ``drop`` (rounded down), are each its own mean.

    Frames that stay are bit for bit what they were. The choice has the gradient of ``-scores`` (straight-through).
    """
    worst = scores_BT.argsort(dim=1, stable=True)[:, : int(drop * scores_BT.shape[1])]
    hard_BT = torch.zeros_like(scores_BT).scatter(1, worst, 1.0)
    z = (hard_BT + (scores_BT.detach() - scores_BT))[:, None, :, None, None]
    return x_BCTHW * (1 - z) + x_BCTHW.mean(dim=(1, 3, 4), keepdim=True) * z


class AgedQueue(Queue):
    """A queue that knows the age of its keys in steps, ``age`` int64 ``[K]``: 0 the random ones, 1 at first use."""

    age: Tensor

    def __init__(self, size: int, *, decay: float) -> None:
        super().__init__(size)
        self.decay = decay
        self.register_buffer("age", torch.zeros(size, dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, videos: Tensor) -> None:
        """All keys grow older, then the new ones come."""
        self.age += 1
        places = (self.pointer + torch.arange(len(keys), device=keys.device)) % len(self.keys)
        self.age[places] = 1
        super().enqueue(keys, videos)

    def cosines(self, query_bE: Tensor) -> Tensor:
        """With all keys, ``[b, K]``, each times ``t^age``."""
        return super().cosines(query_bE) * self.decay ** self.age.to(query_bE.dtype)


class VideoMoCo(MoCo):
    """MoCo, its generator and its aged queue; ``queue`` and ``contrast`` are MoCo's otherwise."""

    def __init__(
        self,
        network: CNN3D,
        *,
        frames: int = 16,
        stride: int = 1,
        moments: int = 1,
        size: int = 112,
        adversary: Adversary = "straight-through",
        generator_weight: float = 100.0,
        drop: float = 0.25,
        decay: float = 0.99999,
        jitter: Literal["clip", "frame"] = "clip",
        **options: Any,
    ) -> None:
        """Put the parts together; ``options`` are those of :class:`cacl.methods.moco.MoCo`."""
        super().__init__(network, network.num_features, **options)
        self.frames, self.stride, self.moments = frames, stride, moments
        self.drop, self.generator_weight, self.adversarial = drop, generator_weight, adversary == "straight-through"
        self.queue = AgedQueue(len(self.queue.keys), decay=decay)
        self.generator = Generator(frames=frames, size=size).requires_grad_(self.adversarial)
        self.views = tuple(View(clip=i * (moments - 1), draw=i, jitter=jitter) for i in (0, 1))

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """One clip, or two moments."""
        return ClipPlan(
            tuple(training_clip(n_frames, rng, frames=self.frames, stride=self.stride, moments=self.moments))
        )

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Both objectives, from one pass of the masked clip."""
        clip = self.pixels(batch.views[0])
        with torch.autocast(clip.device.type, enabled=False), section("generator, forward"):
            masked = dropped(clip, self.generator(clip), self.drop)
        features_bF, query_bE = self.queried(masked)
        key_bE = self.keyed(batch)
        nce, metrics = self.contrast(query_bE, key_bE, batch.video)
        losses = {MAIN: nce}
        if self.adversarial:
            with torch.no_grad():
                whole_bE = self.queried(clip)[1]
            losses["generator"] = -self.generator_weight * F.l1_loss(query_bE, whole_bE)
        return StepOutput(losses, {"nce": nce}, metrics, features_bF, {"key": key_bE})

    def parameter_groups(self) -> Mapping[str, Sequence[Group]]:
        """The encoder's, and the generator's where it learns."""
        groups = {MAIN: [Group(list(self.query.parameters()))]}
        return {**groups, "generator": [Group(list(self.generator.parameters()))]} if self.adversarial else groups
