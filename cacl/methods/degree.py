"""The temporal task of CACL: how far were the frames of the twin shuffled (paper sections 3.1 and 3.3, Eq. 5 and 6)?

Shapes: B batch, C channels, T frames, D feature width of G, M degree classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.data.clips.sampling import ClipPlan, training_clip
from cacl.data.clips.shuffle import (
    DegreeSampler,
    degree_class,
    possible_degrees,
    shuffle_degree,
    subset_shuffle,
    uniform_permutation,
)
from cacl.methods.curves import Curve, Mark
from cacl.methods.differences import pair_differences
from cacl.methods.permute import permute_frames

DegreeInput = Literal["pair", "ratio"]
DegreeSampling = Literal["uniform", "permutation", "subset"]
_FAINT = 0.02  # a response far below this is none


def degree_curve(frames: int) -> Curve:
    """The panel of its accuracy, for clips of ``frames`` frames."""
    chance = 1 / len(possible_degrees(frames))
    return Curve(
        "Degree accuracy",
        {"degree_accuracy": "training clips"},
        references=(Mark("chance", chance),),
        percent=True,
        shown={"degree_accuracy": "degree right"},
        chance=chance,
        advice="Try more epochs, a larger learning rate, or a larger stride where the videos move little; and "
        "model.standardise=motion with model.degree_input=ratio, unless they are set (as in the preset small).",
    )


class ShuffleDegree(nn.Module):
    """h of Eq. 6, from the features of a clip and its twin to logits over the degrees; and the task that it learns.

    ``input="pair"`` is the paper's concat[G(x), G(x~)]. ``"ratio"`` sees [log G(x), log G(x~) - log G(x)], each number
    standardised over the batch: what the shuffle changed is small beside what the video looks like, and grows with how
    much moves in it; the ratio tells the two apart (``docs/recipes.md``).
    """

    name, title, ordered, advice = "degree", "Shuffle degree", True, "raise method.degree_weight"

    def __init__(
        self,
        features: int,
        *,
        frames: int = 16,
        stride: int = 2,
        sampling: DegreeSampling = "uniform",
        hidden: int = 512,
        dropout: float = 0.5,
        input: DegreeInput = "pair",
    ) -> None:
        super().__init__()
        self.frames, self.stride, self.sampling = frames, stride, sampling
        self.input, self.dropout, self.hidden = input, dropout, hidden
        self.values, self._sampler = possible_degrees(frames), DegreeSampler(frames)
        self.norm = nn.BatchNorm1d(2 * features, affine=False) if input != "pair" else None
        self.fc7 = nn.Linear(2 * features, hidden)
        self.fc8 = nn.Linear(hidden, len(self.values))

    def forward(self, clip_BD: Tensor, twin_BD: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """Logits ``[B, M]``.

        Args:
            clip_BD: G(x), 0 or more (after ReLU and averaging).
            twin_BD: G(x~).
            uniforms: float ``[B, hidden]`` in [0, 1), the dropout draws of each sample; None drops nothing.
        """
        if self.norm is None:
            x = torch.cat([clip_BD, twin_BD], dim=1)
        else:
            clip_BD, twin_BD = (clip_BD + _FAINT).log(), (twin_BD + _FAINT).log()
            x = self.norm(torch.cat([clip_BD, twin_BD - clip_BD], dim=1))
        x = F.relu(self.fc7(x))
        if uniforms is not None and self.dropout > 0:
            x = x * (uniforms >= self.dropout) / (1 - self.dropout)
        logits: Tensor = self.fc8(x)
        return logits

    def loss(self, logits_BM: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """Eq. 6: cross entropy over the degrees of Eq. 5."""
        return F.cross_entropy(logits_BM, targets[self.name])

    def targets(self, rng: np.random.Generator) -> dict[str, NDArray[np.int64]]:
        """A shuffle as in training and its class; ``uniform`` draws the degree first (section 3.3)."""
        if self.sampling == "uniform":
            permutation, degree = self._sampler.draw(rng)
        else:
            draw = uniform_permutation if self.sampling == "permutation" else subset_shuffle
            permutation = draw(self.frames, rng)
            degree = shuffle_degree(permutation)
        return self._named(permutation, degree)

    # The task as it is tested -----------------------------------------------------------------------------------------

    def draw(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """A clip from anywhere in the video and a shuffle of uniform degree, whatever training drew."""
        clip = training_clip(n_frames, rng, frames=self.frames, stride=self.stride)[0]
        return ClipPlan((clip,), self._named(*self._sampler.draw(rng)))

    def logits(self, encoder: nn.Module, clips: Sequence[Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Of the clip and its twin."""
        twin_BCTHW = permute_frames(clips[0], targets["permutation"])
        logits: Tensor = self(encoder(clips[0]), encoder(twin_BCTHW))
        return logits

    def differences(self, clips: Sequence[Tensor], targets: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
        """Fourteen numbers: seven of the clip, seven of its twin (fewer of clips below five frames)."""
        return pair_differences(clips[0], targets["permutation"])

    def _named(self, permutation: NDArray[np.int64], degree: int) -> dict[str, NDArray[np.int64]]:
        return {"permutation": permutation, self.name: np.array(degree_class(degree))}


def start_of_the_loss(frames: int) -> Mark:
    """Where the degree loss begins: the entropy of guessing."""
    classes = len(possible_degrees(frames))
    return Mark(f"ln {classes}", math.log(classes), of="degree_loss")
