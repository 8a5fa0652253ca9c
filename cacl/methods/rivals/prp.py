"""PRP (Yao et al., CVPR 2020): which sampling rate has a clip, and what happened between its frames?

Of a window of consecutive frames the network sees every s-th. One head names s, a decoder gives back a clip that is
twice as dense; errors weigh more where the window moves.

Shapes: b samples, T frames of a clip, S pixels of a side, D features, M rates, G groups of target frames.
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
from cacl.data.clips.sampling import ClipPlan, TooShort
from cacl.methods.contract import MAIN, Group, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve, Mark
from cacl.methods.differences import frame_differences, seven_numbers
from cacl.models.cnn3d import CNN3D, Conv3d
from cacl.settings import MethodSettings, NotNegative, Rate, Settings


class PRPSettings(MethodSettings):
    """The values of the authors' code; ``small`` crops, learns and reads short videos as for every method."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "small": {"crop": "train", "short": "wrap", "output": "linear", "linear_rate": 1.0}
    }

    published: ClassVar[Mapping[str, Any]] = {
        "data.stride": 1,
        "optim.lr": 0.01,
        "optim.weight_decay": 5e-4,
        "optim.schedule": "step",
        "optim.milestones": [],
        "optim.batch_size": 8,
        "optim.epochs": 300,
    }

    name: Literal["prp"] = "prp"
    rates: Annotated[int, Field(ge=2, le=4)] = 4  # 1, 2, 4, 8
    short: Literal["replace", "wrap"] = "replace"  # a video too short for its rate: another one, or from its start
    crop: Literal["centre", "train"] = "centre"  # centre: without any augmentation
    output: Literal["relu", "linear"] = "relu"  # of the decoder's last layer: BatchNorm and ReLU, or neither
    class_weight: NotNegative = 0.1
    linear_rate: Rate = 10.0  # of the last layer, times the learning rate

    def curves(self, frames: int) -> Sequence[Curve]:
        """How many rates are right, and the error of what is given back."""
        return [
            Curve(
                "Rate accuracy",
                {"rate_accuracy": "training clips"},
                references=(Mark("chance", 1 / self.rates),),
                percent=True,
                shown={"rate_accuracy": "rate right"},
                chance=1 / self.rates,
                advice="Try more epochs, a larger learning rate, or fewer method.rates where the videos are short.",
            ),
            Curve("Error of the denser clip", {"reconstruction_loss": "weighted, squared"}, log=True),
        ]

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> PRP:
        """Clips of ``data.frames`` frames, ``data.stride`` times the rate apart."""
        data = settings.data
        head = ClipRate(
            network.num_features, rates=self.rates, frames=data.frames, stride=data.stride, wrap=self.short == "wrap"
        )
        return PRP(
            network,
            head,
            crop=self.crop,
            output=self.output,
            class_weight=self.class_weight,
            linear_rate=self.linear_rate,
            standardise=settings.model.standardise,
        )


class ClipRate(nn.Module):
    """The head on the map of features of a clip, and the task that it learns."""

    name, title, ordered, advice = "rate", "Sampling rate", True, "change data.stride"

    def __init__(self, features: int, *, rates: int = 4, frames: int = 16, stride: int = 1, wrap: bool = False) -> None:
        super().__init__()
        self.frames, self.stride, self.wrap = frames, stride, wrap
        self.values = tuple(2**i for i in range(rates))
        self.conv = _layer(features, features)
        self.linear = nn.Linear(features, rates)

    def forward(self, map_bDTHW: Tensor) -> Tensor:
        """Logits ``[b, M]``."""
        logits: Tensor = self.linear(self.conv(map_bDTHW).float().mean((2, 3, 4)))
        return logits

    def window(self, n_frames: int, rng: np.random.Generator) -> tuple[int, NDArray[np.int64]]:
        """The class first, then the window: ``T s`` frames, the start uniform over all that fit.

        Raises:
            TooShort: the video has no more frames than that, and frames from its start do not do.
        """
        rate = int(rng.integers(len(self.values)))
        count = self.frames * self.values[rate]
        length = (count - 1) * self.stride + 1
        if n_frames <= length and not self.wrap:
            raise TooShort(f"{n_frames} frames, rate {self.values[rate]} wants more than {length}")
        start = int(rng.integers(max(1, n_frames - length + 1)))
        return rate, (start + self.stride * np.arange(count, dtype=np.int64)) % n_frames

    def draw(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """What the network sees of a window."""
        rate, window = self.window(n_frames, rng)
        return ClipPlan((window[:: self.values[rate]],), {self.name: np.array(rate)})

    def logits(self, encoder: nn.Module, clips: Sequence[Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Of the clip as evaluation sees it."""
        assert isinstance(encoder, CNN3D)
        logits: Tensor = self(encoder.forward_features(clips[0]))
        return logits

    def differences(self, clips: Sequence[Tensor], targets: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
        """Seven numbers of the clip (fewer of clips below five frames)."""
        return np.array(seven_numbers(frame_differences(clips[0])))


class PRP(Method):
    """``mean(mask * (decoded - denser)^2) + class_weight * cross entropy``."""

    def __init__(
        self,
        network: CNN3D,
        head: ClipRate,
        *,
        crop: Literal["centre", "train"] = "centre",
        output: Literal["relu", "linear"] = "relu",
        class_weight: float = 0.1,
        linear_rate: float = 10.0,
        standardise: Standardise = "none",
    ) -> None:
        super().__init__()
        self.network, self.head, self.standardise = network, head, standardise
        self.class_weight, self.linear_rate = class_weight, linear_rate
        self.decoder = decoder(network.num_features, output=output)
        self.views = tuple(View(clip=i, crop=crop) for i in range(3))  # one draw

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.network

    def networks(self) -> Sequence[nn.Module]:
        """The decoder: of the network's ``forward`` nothing is used."""
        return [self.decoder]

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """The clip, the twice denser clip, and four frames of each of the window's chunks, by which motion is found.

        At rate 1 there is nothing between two frames: each is there twice, and ``forward`` makes the second the mean of
        its neighbours. The window is s chunks of T frames; each is named for all groups of target frames that it holds.
        """
        rate, window = self.head.window(n_frames, rng)
        s, T = self.head.values[rate], self.head.frames
        denser = window[:: s // 2] if rate else window.repeat(2)
        groups = self.head.values[-1]
        chunk_G = np.arange(groups) * s // groups
        looked_at = chunk_G[:, None] * T + np.linspace(0, T - 1, 4).round().astype(np.int64)  # of 16: 0, 5, 10, 15
        return ClipPlan((window[::s], denser, window[looked_at.ravel()]), {"rate": np.array(rate)})

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Encode, name the rate, decode."""
        clip, denser, chunks = batch.views
        rate_b = batch.targets["rate"]
        target = standardised(between_means(denser, rate_b == 0), self.standardise)
        mask = motion_mask(chunks, frames=target.shape[2])
        map_bDTHW = self.network.forward_features(standardised(clip, self.standardise))
        logits_bM, decoded = self.head(map_bDTHW), self.decoder(map_bDTHW).float()
        with torch.autocast(decoded.device.type, enabled=False):
            if decoded.shape != target.shape:  # sides that are no multiple of 16
                decoded = F.interpolate(decoded, size=target.shape[2:], mode="trilinear")
            error = (mask * (decoded - target).square()).mean()
            guess = F.cross_entropy(logits_bM.float(), rate_b)
        right = (logits_bM.detach().argmax(dim=1) == rate_b).float().mean()
        terms = {"reconstruction_loss": error, "rate_loss": guess}
        features_bD = map_bDTHW.float().mean((2, 3, 4))
        return StepOutput({MAIN: error + self.class_weight * guess}, terms, {"rate_accuracy": right}, features_bD)

    def parameter_groups(self) -> Mapping[str, Sequence[Group]]:
        """The last layer has a rate of its own."""
        own = list(self.head.linear.parameters())
        others = [p for p in self.parameters() if p.requires_grad and not any(p is q for q in own)]
        return {MAIN: [Group(others), Group(own, scale=self.linear_rate)]}

    def tasks(self) -> Sequence[ClipRate]:
        """The rate of a clip."""
        return [self.head]


def _layer(fan_in: int, fan_out: int) -> nn.Sequential:
    return nn.Sequential(Conv3d(fan_in, fan_out, 3, padding=1), nn.BatchNorm3d(fan_out), nn.ReLU(inplace=True))


def decoder(features: int, *, output: Literal["relu", "linear"]) -> nn.Sequential:
    """``[b, D, T/8, S/16, S/16]`` to ``[b, 3, 2T, S, S]``: four times twice as large, D to D/8 channels, then 3."""
    layers, width = [*_layer(features, features)], features
    for _ in range(3):
        layers += [nn.ConvTranspose3d(width, width, 2, stride=2), *_layer(width, width // 2)]
        width //= 2
    last = _layer(width, 3) if output == "relu" else [Conv3d(width, 3, 3, padding=1)]
    return nn.Sequential(*layers, nn.ConvTranspose3d(width, width, 2, stride=2), *last)


def between_means(denser: Tensor, here_b: Tensor) -> Tensor:
    """``[b, 3, 2T, S, S]``, where ``here``: each odd frame the mean of its neighbours, the last that before it."""
    even = denser[:, :, ::2]
    after = torch.cat([even[:, :, 1:], even[:, :, -1:]], dim=2)
    means = torch.stack([even, (even + after) / 2], dim=3).flatten(2, 3)
    return torch.where(here_b[:, None, None, None, None], means, denser)


@torch.no_grad()
def motion_mask(chunks: Tensor, *, frames: int, low: float = 0.8, high: float = 2.0) -> Tensor:
    """Weights of the target's pixels: a Gaussian where the chunk moves most, rescaled to ``low`` … ``high``.

    Of the patches of a quarter of the side, a sixteenth apart, that with the largest squared differences between the
    chunk's four frames, summed; the Gaussian's deviation is an eighth of the side (of 112 pixels: 28, 7 and 14).

    Args:
        chunks: ``[b, 3, 4G, S, S]``, four frames of the chunk of each group.
        frames: of the target, dealt out evenly to the groups.

    Returns:
        ``[b, 1, frames, S, S]``.
    """
    size = chunks.shape[-1]
    patch, step = max(1, size // 4), max(1, size // 16)
    x_b3GKSS = torch.unflatten(chunks, 2, (-1, 4))
    moved_bGSS = (x_b3GKSS[:, :, :, 1:] - x_b3GKSS[:, :, :, :-1]).square().mean(1).sum(2)
    score_bGhw = F.avg_pool2d(moved_bGSS, patch, step)
    best_bG = score_bGhw.flatten(2).argmax(dim=2)
    across = score_bGhw.shape[-1]
    place = torch.arange(size, device=chunks.device)
    squared = [
        (place - (corner_bG * step + (patch - 1) / 2)[..., None]).square()
        for corner_bG in (best_bG // across, best_bG % across)
    ]
    bell_bGSS = (-(squared[0][..., :, None] + squared[1][..., None, :]) / (2 * (size / 8) ** 2)).exp()
    least, most = bell_bGSS.amin((2, 3), keepdim=True), bell_bGSS.amax((2, 3), keepdim=True)
    weight_bGSS = low + (high - low) * (bell_bGSS - least) / (most - least)
    group_T = torch.arange(frames, device=chunks.device) * weight_bGSS.shape[1] // frames
    return weight_bGSS[:, None, group_T]
