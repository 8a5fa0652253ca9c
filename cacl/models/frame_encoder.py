"""The frame encoder: a ResNet over single frames, without its classifier.

CACL uses it frozen, to turn each frame into one token of the video transformer (paper section 3.2). Parameter names are
those of the common ImageNet ResNets (``conv1``, ``layer1.0.bn2``, ``layer2.0.downsample.0`` ...), so that their
weights, and MoCo's, load without renaming; ``width`` scales every stage for laptops.

Shapes: N frames (any number of clips flattened), C=3 colours, H W pixels, F features.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cacl.models.weights import load_frame_weights, save_frame_weights

__all__ = ["FrameEncoderName", "ResNet", "build_frame_encoder", "load_frame_weights", "save_frame_weights"]

FrameEncoderName = Literal["resnet18", "resnet50"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and the shortcut (He et al. 2016, figure 5 left)."""

    expansion = 1

    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _shortcut(inplanes, planes * self.expansion, stride)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """``[N, inplanes, H, W]`` to ``[N, planes, H/stride, W/stride]``."""
        y = F.relu(self.bn1(self.conv1(x_NCHW)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.downsample(x_NCHW))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and the shortcut, the stride in the 3x3 one (as all common ResNet-50 weights)."""

    expansion = 4

    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * self.expansion)
        self.downsample = _shortcut(inplanes, planes * self.expansion, stride)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """``[N, inplanes, H, W]`` to ``[N, 4 * planes, H/stride, W/stride]``."""
        y = F.relu(self.bn1(self.conv1(x_NCHW)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.downsample(x_NCHW))


def _shortcut(inplanes: int, outplanes: int, stride: int) -> nn.Module:
    if stride == 1 and inplanes == outplanes:
        return nn.Identity()  # has no parameters, so the names stay those of the common weights
    return nn.Sequential(nn.Conv2d(inplanes, outplanes, 1, stride, bias=False), nn.BatchNorm2d(outplanes))


Blocks = type[BasicBlock] | type[Bottleneck]
_PLANS: dict[FrameEncoderName, tuple[Blocks, tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}


class ResNet(nn.Module):
    """ResNet-18 or ResNet-50 up to the global average pooling (He et al. 2016), for frames of 32 pixels and more.

    Pixels are expected in [0, 1]. ``pixel_mean`` and ``pixel_std`` (one number a colour) are for imported weights that
    were trained on normalised pixels: they are applied first thing in ``forward``, and are saved with the weights, so
    that the weights never meet the wrong pixels. Encoders trained here have none (method: [0, 1] throughout).

    Attributes:
        name, width: what was asked for; ``width`` is the number of channels of the stem, 64 in the literature.
        num_features: F, the length of the output: 8 * width (ResNet-18) or 32 * width (ResNet-50).
    """

    pixel_mean: Tensor | None
    pixel_std: Tensor | None

    def __init__(
        self,
        name: FrameEncoderName,
        *,
        width: int = 64,
        pixel_mean: tuple[float, float, float] | None = None,
        pixel_std: tuple[float, float, float] | None = None,
    ) -> None:
        super().__init__()
        if (pixel_mean is None) != (pixel_std is None):
            raise ValueError("pixel_mean and pixel_std go together: give both or neither")
        block, blocks = _PLANS[name]
        self.name: FrameEncoderName = name
        self.width = width
        self.num_features = 8 * width * block.expansion
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = _stage(block, width, width, blocks[0], 1)
        self.layer2 = _stage(block, width * block.expansion, 2 * width, blocks[1], 2)
        self.layer3 = _stage(block, 2 * width * block.expansion, 4 * width, blocks[2], 2)
        self.layer4 = _stage(block, 4 * width * block.expansion, 8 * width, blocks[3], 2)
        for key, value in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            # not in the state dict: other people's weights have no such entries
            buffer = None if value is None else torch.tensor(value).view(1, 3, 1, 1)
            self.register_buffer(key, buffer, persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Features of single frames.

        Args:
            x_NCHW: float, ``[N, 3, H, W]``, pixels in [0, 1].

        Returns:
            ``[N, num_features]``, not normalised.
        """
        if self.pixel_mean is not None and self.pixel_std is not None:
            x_NCHW = (x_NCHW - self.pixel_mean) / self.pixel_std
        y = F.relu(self.bn1(self.conv1(x_NCHW)))
        y = F.max_pool2d(y, 3, 2, 1)
        y_NFHW: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(y))))
        return y_NFHW.mean((2, 3))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], inplanes: int, planes: int, n: int, stride: int
) -> nn.Sequential:
    first = block(inplanes, planes, stride)
    return nn.Sequential(first, *(block(planes * block.expansion, planes, 1) for _ in range(n - 1)))


def build_frame_encoder(
    name: FrameEncoderName,
    *,
    width: int = 64,
    pixel_mean: tuple[float, float, float] | None = None,
    pixel_std: tuple[float, float, float] | None = None,
) -> ResNet:
    """A frame encoder with fresh weights (Kaiming normal, fan out); 11.18 M / 23.51 M parameters at width 64.

    Args:
        name: ``"resnet18"`` or ``"resnet50"`` (the paper's, section 4.1).
        width: channels of the stem, 1 or more; 16 suits laptops.
        pixel_mean: mean a colour, in units of [0, 1], that imported weights were trained with; with ``pixel_std``.
        pixel_std: standard deviation a colour, likewise.
    """
    return ResNet(name, width=width, pixel_mean=pixel_mean, pixel_std=pixel_std)
