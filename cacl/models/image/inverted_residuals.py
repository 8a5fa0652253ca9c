"""MobileNetV2 and EfficientNet-Lite0: phone-size image networks of inverted residual blocks, up to the last map.

Both are the same chain of blocks with other numbers (Sandler et al. 2018, table 2; the EfficientNet-Lite family leaves
squeeze-and-excitation and swish out of Tan and Le 2019, table 1). Lite0 pads as TensorFlow does: an even side that is
halved gets its extra pixel at the end.

Shapes: N frames, C=3 colours, H W pixels, D=1280 features.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

MobileName = Literal["efficientnet-lite0", "mobilenet-v2"]


class _Stage(NamedTuple):
    """So many blocks; the first one has the stride."""

    expansion: int
    kernel: int
    stride: int
    width: int
    blocks: int


class _Plan(NamedTuple):
    stages: tuple[_Stage, ...]
    same: bool  # pads as TensorFlow does
    epsilon: float  # of BatchNorm


_PLANS: dict[MobileName, _Plan] = {
    "efficientnet-lite0": _Plan(
        (
            _Stage(1, 3, 1, 16, 1),
            _Stage(6, 3, 2, 24, 2),
            _Stage(6, 5, 2, 40, 2),
            _Stage(6, 3, 2, 80, 3),
            _Stage(6, 5, 1, 112, 3),
            _Stage(6, 5, 2, 192, 4),
            _Stage(6, 3, 1, 320, 1),
        ),
        same=True,
        epsilon=1e-3,
    ),
    "mobilenet-v2": _Plan(
        (
            _Stage(1, 3, 1, 16, 1),
            _Stage(6, 3, 2, 24, 2),
            _Stage(6, 3, 2, 32, 3),
            _Stage(6, 3, 2, 64, 4),
            _Stage(6, 3, 1, 96, 3),
            _Stage(6, 3, 2, 160, 3),
            _Stage(6, 3, 1, 320, 1),
        ),
        same=False,
        epsilon=1e-5,
    ),
}
STEM, FEATURES = 32, 1280


class _ConvNorm(nn.Module):
    """Convolution and BatchNorm; ReLU6 after them where ``active``."""

    def __init__(
        self, wide_in: int, wide_out: int, plan: _Plan, *, kernel: int = 1, stride: int = 1, groups: int = 1,
        active: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.kernel, self.stride, self.same, self.active = kernel, stride, plan.same, active
        padding = 0 if plan.same else kernel // 2
        self.conv = nn.Conv2d(wide_in, wide_out, kernel, stride, padding, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(wide_out, eps=plan.epsilon)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        if self.same and self.kernel > 1:
            rows, columns = (self._missing(side) for side in x_NCHW.shape[2:])
            x_NCHW = F.pad(x_NCHW, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        x_NCHW = self.norm(self.conv(x_NCHW))
        return F.relu6(x_NCHW) if self.active else x_NCHW

    def _missing(self, side: int) -> int:
        """Pixels to add to a side, so that the output has ``ceil(side / stride)``."""
        return max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)


class _Block(nn.Module):
    """Wide, filtered a channel at a time, narrow again; added to what came in where that has the same shape."""

    def __init__(self, wide_in: int, stage: _Stage, stride: int, plan: _Plan) -> None:
        super().__init__()
        inner = wide_in * stage.expansion
        layers = [] if stage.expansion == 1 else [_ConvNorm(wide_in, inner, plan)]
        layers.append(_ConvNorm(inner, inner, plan, kernel=stage.kernel, stride=stride, groups=inner))
        layers.append(_ConvNorm(inner, stage.width, plan, active=False))
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and wide_in == stage.width

    def forward(self, x_NCHW: Tensor) -> Tensor:
        y: Tensor = self.layers(x_NCHW)
        return x_NCHW + y if self.shortcut else y


class InvertedResiduals(nn.Module):
    """``[N, 3, H, W]`` to the last map, ``[N, 1280, H/32, W/32]``."""

    def __init__(self, name: MobileName) -> None:
        super().__init__()
        plan, width = _PLANS[name], STEM
        blocks: list[nn.Module] = []
        for stage in plan.stages:
            for number in range(stage.blocks):
                blocks.append(_Block(width, stage, stage.stride if number == 0 else 1, plan))
                width = stage.width
        self.stem = _ConvNorm(3, STEM, plan, kernel=3, stride=2)
        self.blocks = nn.Sequential(*blocks)
        self.head = _ConvNorm(width, FEATURES, plan)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Frames to the last map."""
        map_NDHW: Tensor = self.head(self.blocks(self.stem(x_NCHW)))
        return map_NDHW
