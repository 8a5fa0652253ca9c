"""VCP (Luo et al., AAAI 2020): a cloze. The middle of three clips was operated on; which operation was it?

None, a rotation, an exchange of quadrants, an exchange of two of its four chunks, or a clip from elsewhere in the video
in its place.

Shapes: b samples, T frames, S pixels of a side, D features, 5 operations.
"""

from __future__ import annotations

import itertools
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
from cacl.errors import UserError
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve, Mark
from cacl.methods.differences import frame_differences, log_difference, seven_numbers
from cacl.methods.permute import formatted
from cacl.models.cnn3d import CNN3D
from cacl.settings import MethodSettings, Settings

NONE, ROTATED, PERMUTED, SHUFFLED, REMOTE = range(5)
QUADRANTS = tuple(itertools.permutations(range(4)))  # the first is none
CHUNKS = 4


class VCPSettings(MethodSettings):
    """The values of the code that is known, which is not the authors'."""

    published: ClassVar[Mapping[str, Any]] = {
        "data.stride": 1,
        "augment.flip": 0.0,
        "augment.jitter_p": 0.0,
        "augment.blur_p": 0.0,
        "optim.lr": 0.01,
        "optim.weight_decay": 5e-4,
        "optim.schedule": "step",
        "optim.milestones": [],
        "optim.batch_size": 8,
        "optim.epochs": 200,
    }

    name: Literal["vcp"] = "vcp"
    gap: Annotated[int, Field(ge=0)] = 8  # frames between two clips
    distance: Annotated[int, Field(ge=0)] = 16  # frames between the three and a clip from elsewhere

    def curves(self, frames: int) -> Sequence[Curve]:
        """How many operations are right."""
        return [
            Curve(
                "Operation accuracy",
                {"operation_accuracy": "training clips"},
                references=(Mark("chance", 0.2),),
                percent=True,
                shown={"operation_accuracy": "operation right"},
                chance=0.2,
                advice="Try more epochs, a larger learning rate, or a larger data.stride where the videos move little.",
            ),
            Curve("Videos too short for a clip from elsewhere", {"too_near": "share of all samples"}, percent=True),
        ]

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> VCP:
        """Clips of ``data.frames`` frames, ``data.stride`` apart."""
        data, size = settings.data, settings.augment.size
        if size % 2:
            raise UserError(f"augment.size is {size}; method vcp cuts clips into quadrants: set it to an even number.")
        head = Operation(
            network.num_features, frames=data.frames, stride=data.stride, gap=self.gap, distance=self.distance
        )
        return VCP(network, head, standardise=settings.model.standardise)


class Operation(nn.Module):
    """The head on the features of three clips, and the task that it learns."""

    name, title, ordered, advice = "operation", "Clip operation", False, "train with a larger data.stride"
    values = tuple(range(5))

    def __init__(self, features: int, *, frames: int = 16, stride: int = 1, gap: int = 8, distance: int = 16) -> None:
        super().__init__()
        self.frames, self.stride, self.gap, self.distance = frames, stride, gap, distance
        self.linear = nn.Linear(3 * features, len(self.values))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``[b, 5]`` of the features ``[b, D]`` of the three clips."""
        logits: Tensor = self.linear(torch.cat(list(features), dim=1))
        return logits

    def draw(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """The operation first, and how; then the clips. What changes frames is done, ``how`` says what is left.

        ``how`` is the number of quarter turns of a rotated clip, the number of the permutation of a permuted one, else
        0. ``too_near`` is 1 where a clip from elsewhere had to come from nearer than it should.
        """
        operation, turns, order = int(rng.integers(5)), 1 + int(rng.integers(3)), 1 + int(rng.integers(23))
        exchanged = rng.choice(CHUNKS, size=2, replace=False)
        side, place = rng.random(2)
        clips = spaced_clips(n_frames, rng, clips=3, frames=self.frames, stride=self.stride, gap=self.gap)
        middle, too_near = clips[1], False
        if operation == SHUFFLED:
            middle = exchanged_chunks(middle, int(exchanged[0]), int(exchanged[1]))
        elif operation == REMOTE:
            middle, too_near = remote_clip(n_frames, clips, distance=self.distance, side=side, place=place)
        how = turns if operation == ROTATED else order if operation == PERMUTED else 0
        return ClipPlan(
            (clips[0], middle, clips[2]),
            {self.name: np.array(operation), "how": np.array(how), "too_near": np.array(int(too_near))},
        )

    def logits(self, encoder: nn.Module, clips: Sequence[Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Of clips as evaluation sees them."""
        shown = (clips[0], operated(clips[1], targets[self.name], targets["how"]), clips[2])
        logits: Tensor = self([encoder(clip) for clip in shown])
        return logits

    def differences(self, clips: Sequence[Tensor], targets: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
        """Seven numbers of the middle clip, and the log differences of every two clips where they meet."""
        operation, how = (torch.from_numpy(np.atleast_1d(targets[key])) for key in (self.name, "how"))
        shown = (clips[0], operated(clips[1][None], operation, how)[0], clips[2])
        meeting = [log_difference(shown[i][:, -1], shown[j][:, 0]) for i, j in ((0, 1), (1, 2), (0, 2))]
        return np.array([*seven_numbers(frame_differences(shown[1])), *meeting])


class VCP(Method):
    """Cross entropy over the operations."""

    views = tuple(View(clip=i, draw=i) for i in range(3))

    def __init__(self, network: CNN3D, head: Operation, *, standardise: Standardise = "none") -> None:
        """``network`` encodes each clip by itself, with BatchNorm statistics of its own, as VCOP."""
        super().__init__()
        self.network, self.head, self.standardise = network, head, standardise

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """Three clips, the middle one with what its operation does to frames."""
        return self.head.draw(n_frames, rng)

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Operate on pixels, encode, name the operation."""
        first, middle, last = batch.views
        operation_b = batch.targets["operation"]
        shown = (first, operated(middle, operation_b, batch.targets["how"]), last)
        features = torch.stack([self.network(standardised(clip, self.standardise)) for clip in shown])
        with torch.autocast(features.device.type, enabled=False):
            logits_b5 = self.head(tuple(features))
            loss = F.cross_entropy(logits_b5, operation_b)
        metrics = {
            "operation_accuracy": (logits_b5.detach().argmax(dim=1) == operation_b).float().mean(),
            "too_near": batch.targets["too_near"].float().mean(),
        }
        return StepOutput({MAIN: loss}, {"operation_loss": loss}, metrics, features)

    def tasks(self) -> Sequence[Operation]:
        """The operation."""
        return [self.head]


def exchanged_chunks(clip_T: NDArray[np.int64], first: int, second: int) -> NDArray[np.int64]:
    """Two of the clip's four equal chunks in each other's place (of fewer than four frames, as many chunks)."""
    parts = np.array_split(clip_T, CHUNKS)
    parts[first], parts[second] = parts[second], parts[first]
    return np.concatenate(parts)


def remote_clip(
    n_frames: int, clips_3T: NDArray[np.int64], *, distance: int, side: float, place: float
) -> tuple[NDArray[np.int64], bool]:
    """A clip with ``distance`` frames or more between it and the three, before or after them, and whether none fits.

    Either side where both have room (``side`` below a half: before), the start uniform by ``place``, in [0, 1). Where
    none has, the clip at that end of the video which is farther from the middle one.
    """
    steps_T = clips_3T[0] - clips_3T[0, 0]
    first, last, length = int(clips_3T[0, 0]), int(clips_3T[2, -1]), int(steps_T[-1]) + 1
    in_order = bool((np.diff(clips_3T.ravel()) > 0).all())  # else the video is shorter than three clips
    before, after = first - distance - length + 1, n_frames - length - last - distance  # so many starts
    if in_order and max(before, after) > 0:
        earlier = before > 0 and (after <= 0 or side < 0.5)
        start = int(place * before) if earlier else last + distance + 1 + int(place * after)
        return start + steps_T, False
    end = max(0, n_frames - length)
    start = 0 if int(clips_3T[1, 0]) > end / 2 else end
    return (start + steps_T) % n_frames, True


def operated(x_b3TSS: Tensor, operation_b: Tensor, how_b: Tensor) -> Tensor:
    """What rotation and permutation do to pixels; clips of other operations stay as they are.

    A clip turns by ``how`` quarters. Of a permuted one, quadrant j (row by row) shows quadrant ``QUADRANTS[how][j]``.
    """
    turned = x_b3TSS
    for quarters in (1, 2, 3):
        here_b = (operation_b == ROTATED) & (how_b == quarters)
        turned = torch.where(here_b[:, None, None, None, None], x_b3TSS.rot90(quarters, (3, 4)), turned)
    b, channels, frames, size = *x_b3TSS.shape[:3], x_b3TSS.shape[-1]
    halves = turned.reshape(b, channels, frames, 2, size // 2, 2, size // 2)
    parts_b4 = halves.permute(0, 3, 5, 1, 2, 4, 6).flatten(1, 2)
    order_b4 = torch.tensor(QUADRANTS, device=how_b.device)[torch.where(operation_b == PERMUTED, how_b, 0)]
    parts_b4 = parts_b4[torch.arange(b, device=how_b.device)[:, None], order_b4]
    halves = parts_b4.view(b, 2, 2, channels, frames, size // 2, size // 2).permute(0, 3, 4, 1, 5, 2, 6)
    return formatted(halves.reshape(x_b3TSS.shape), like=x_b3TSS)
