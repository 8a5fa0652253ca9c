"""SpeedNet (Benaim et al., CVPR 2020): is a clip shown at its own speed, or sped up?

Both versions of one stretch of a video are in the batch, so that nothing but the speed tells them apart. What the last
convolution finds is pooled by the maximum over the picture, as what moves may be small, and by the mean over time.

Shapes: b samples of this process, T frames, S side of a clip, D features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import model_validator
from torch import Tensor, nn

from cacl.data.clips.normalise import Standardise, standardised
from cacl.data.clips.sampling import ClipPlan, TooShort
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput, View
from cacl.methods.curves import Curve, Mark
from cacl.methods.differences import frame_differences, seven_numbers
from cacl.methods.permute import formatted
from cacl.models.cnn3d import CNN3D
from cacl.settings import MethodSettings, Range, Settings, refuse

SPEED = Curve(
    "Speed accuracy",
    {"speed_accuracy": "training clips"},
    references=(Mark("chance", 0.5),),
    percent=True,
    shown={"speed_accuracy": "speed right"},
    chance=0.5,
    advice="Try more epochs, or a larger data.stride where the videos move little.",
)


class SpeedNetSettings(MethodSettings):
    """The paper's values; ``small`` leaves the size of clips as it is."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"small": {"resize": [1.0, 1.0]}}

    name: Literal["speednet"] = "speednet"
    normal: Range = (1.0, 1.2)  # frames are skipped at a rate within, times data.stride
    sped_up: Range = (1.7, 2.2)
    resize: Range = (64 / 224, 336 / 224)  # side of the clips of a step, in augment.size

    @model_validator(mode="after")
    def _ranges(self) -> SpeedNetSettings:
        ranges = {name: getattr(self, name) for name in ("normal", "sped_up", "resize")}
        refuse(
            [f"method.{name} must go from low to high (found {list(r)})" for name, r in ranges.items() if r[0] > r[1]]
        )
        return self

    def curves(self, frames: int) -> Sequence[Curve]:
        """How many speeds are right."""
        return (SPEED,)

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> SpeedNet:
        """SpeedNet of clips of ``data.frames`` frames, ``data.stride`` times the rate apart."""
        speed = Speed(
            network.num_features,
            frames=settings.data.frames,
            stride=settings.data.stride,
            normal=self.normal,
            sped_up=self.sped_up,
        )
        return SpeedNet(network, speed, resize=self.resize, standardise=settings.model.standardise)


class Speed(nn.Module):
    """The head on the pooled features of a clip, and the task that it learns."""

    name, title, ordered, advice = "speed", "Speed", False, "train with a larger data.stride"
    values: tuple[int, ...] = (0, 1)

    def __init__(
        self,
        features: int,
        *,
        frames: int = 16,
        stride: int = 1,
        normal: tuple[float, float] = (1.0, 1.2),
        sped_up: tuple[float, float] = (1.7, 2.2),
    ) -> None:
        super().__init__()
        self.frames, self.stride, self.rates = frames, stride, (normal, sped_up)
        self.fast = nn.Linear(features, 1)

    def features(self, encoder: CNN3D, clip_BCTSS: Tensor) -> Tensor:
        """The maximum over the picture and then the mean over time, ``[B, D]``."""
        return encoder.forward_features(clip_BCTSS).float().amax((3, 4)).mean(2)

    def both(self, n_frames: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """A stretch of the video at a normal rate and sped up, from the same start.

        The rates are drawn first; where the faster clip does not fit, the stride of both shrinks.

        Raises:
            TooShort: even at stride 1.
        """
        rates = [float(rng.uniform(*rate)) for rate in self.rates]
        for step in range(self.stride, 0, -1):
            clips = [np.floor(rate * step * np.arange(self.frames)).astype(np.int64) for rate in rates]
            longest = max(int(clip[-1]) for clip in clips) + 1
            if longest <= n_frames:
                start = int(rng.integers(n_frames - longest + 1))
                return start + clips[0], start + clips[1]
        raise TooShort(f"{n_frames} frames, {longest} are needed at the higher speed")

    def draw(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """One of the two, for a test."""
        fast = int(rng.integers(2))
        return ClipPlan((self.both(n_frames, rng)[fast],), {self.name: np.array(fast)})

    def logits(self, encoder: nn.Module, clips: Sequence[Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """Of clips as evaluation sees them."""
        assert isinstance(encoder, CNN3D)
        fast_B1 = self.fast(self.features(encoder, clips[0]))
        return torch.cat([torch.zeros_like(fast_B1), fast_B1], dim=1)

    def differences(self, clips: Sequence[Tensor], targets: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float64]:
        """Seven numbers of the clip's frame differences."""
        return np.array(seven_numbers(frame_differences(clips[0])))


class SpeedNet(Method):
    """Binary cross entropy of the clips of both speeds."""

    views = (View(clip=0, draw=0), View(clip=1, draw=0))
    shared = 1

    def __init__(
        self,
        network: CNN3D,
        speed: Speed,
        *,
        resize: tuple[float, float] = (1.0, 1.0),
        standardise: Standardise = "none",
    ) -> None:
        """Both versions go through ``network`` in one pass and share BatchNorm statistics."""
        super().__init__()
        self.network, self.speed, self.resize, self.standardise = network, speed, resize, standardise

    @property
    def encoder(self) -> CNN3D:
        """The network."""
        return self.network

    def plan(self, n_frames: int, rng: np.random.Generator) -> ClipPlan:
        """Both versions of a stretch."""
        return ClipPlan(self.speed.both(n_frames, rng))

    def sized(self, clip_BCTSS: Tensor, share: Tensor) -> Tensor:
        """Clips at the size of this step: a share of ``resize``, uniform."""
        low, high = self.resize
        if low == high == 1:
            return clip_BCTSS
        side = max(16, round(clip_BCTSS.shape[-1] * (low + float(share) * (high - low))))
        frames_BNSS = F.interpolate(clip_BCTSS.flatten(1, 2), size=(side, side), mode="bilinear", antialias=True)
        return formatted(frames_BNSS.view(*clip_BCTSS.shape[:3], side, side), like=clip_BCTSS)

    def forward(self, batch: MethodBatch) -> StepOutput:
        """Of each clip, whether it is sped up."""
        clips = [self.sized(standardised(view, self.standardise), batch.shared[0]) for view in batch.views]
        both = formatted(torch.cat(clips), like=clips[0])
        features_2bD = torch.stack(self.speed.features(self.network, both).chunk(2))
        with torch.autocast(features_2bD.device.type, enabled=False):
            fast_2b = self.speed.fast(features_2bD)[..., 0]
            aims_2b = torch.stack([torch.zeros_like(fast_2b[0]), torch.ones_like(fast_2b[1])])
            loss = F.binary_cross_entropy_with_logits(fast_2b, aims_2b)
        right = ((fast_2b.detach() > 0) == (aims_2b > 0)).float().mean()
        return StepOutput({MAIN: loss}, {"speed_loss": loss}, {"speed_accuracy": right}, features_2bD)

    def tasks(self) -> Sequence[Speed]:
        """The speed of a clip."""
        return [self.speed]
