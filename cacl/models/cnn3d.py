"""The 3D CNNs: C3D, R3D and R(2+1)D with BatchNorm and global average pooling, as used since VCOP.

Layers and parameter names are those of the authors' code, so that their state dicts fit (paper section 3.1; Tran et al.
2015 for C3D, Hara et al. 2018 for R3D, Tran et al. 2018 for R(2+1)D). ``width`` is the number of channels of the first
stage: 64 in the paper, 16 on a laptop.

Shapes: B batch, C channels, T frames, H W pixels, D = 8 * width features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from cacl.settings import CNN3DName as CNN3DName

BLOCKS: dict[str, tuple[int, int, int, int]] = {
    "r3d10": (1, 1, 1, 1),
    "r3d18": (2, 2, 2, 2),
    "r3d34": (3, 4, 6, 3),
    "r2plus1d10": (1, 1, 1, 1),
    "r2plus1d18": (2, 2, 2, 2),
    "r3d10-tclr": (1, 1, 1, 1),
    "r3d18-tclr": (2, 2, 2, 2),
    "r2plus1d18-torchvision": (2, 2, 2, 2),
}


class Conv3d(nn.Conv3d):
    """``nn.Conv3d`` whose weight gradient is right in bfloat16 on the CPU too.

    oneDNN leaves the weight gradient uninitialised when a bfloat16 input has two frames and the kernel pads in time
    (see ``docs/precision.md``). Padding in time by hand first is the cure; it is exact, and used only there.
    """

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Convolve ``[B, C, T, H, W]``."""
        low = x_BCTHW.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")
        pad_t, pad_h, pad_w = (int(p) for p in self.padding)
        if not (low and x_BCTHW.device.type == "cpu" and x_BCTHW.shape[2] == 2 and pad_t > 0):
            return super().forward(x_BCTHW)
        x_BCTHW = F.pad(x_BCTHW, (0, 0, 0, 0, pad_t, pad_t))
        return F.conv3d(x_BCTHW, self.weight, self.bias, self.stride, (0, pad_h, pad_w), self.dilation)


class CNN3D(nn.Module, ABC):
    """What the three architectures share: a map of features, and its global average.

    Attributes:
        num_features: D, the width of the pooled feature.
        time_stride: frames that one step of the last map stands for.
        checkpointed: keep only the input of each stage for the backward pass and compute the rest again there: less
            memory, a forward pass more, the same gradients.
    """

    num_features: int
    time_stride: int = 8
    checkpointed: bool = False

    @abstractmethod
    def forward_features(self, x_BCTHW: Tensor) -> Tensor:
        """The last convolution's map, ``[B, D, ceil(T/8), ceil(H/16), ceil(W/16)]`` (C3D rounds down)."""

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """The pooled feature G(x), ``[B, D]``, of clips ``[B, 3, T, H, W]`` in [0, 1]."""
        return self.forward_features(x_BCTHW).float().mean((2, 3, 4))

    def _stage(self, stage: Callable[[Tensor], Tensor], x_BCTHW: Tensor) -> Tensor:
        """One part of the network, checkpointed where that is wanted."""
        if not (self.checkpointed and torch.is_grad_enabled()):
            return stage(x_BCTHW)
        again = _CountedAlready(self)
        out: Tensor = checkpoint(  # nothing in the networks is random
            stage, x_BCTHW, use_reentrant=False, preserve_rng_state=False, context_fn=lambda: (nullcontext(), again)
        )
        return out


class C3D(CNN3D):
    """C3D: eight 3x3x3 convolutions with bias, each with BatchNorm and ReLU, and four max-pools."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        w = width
        plan = {"1": (3, w), "2": (w, 2 * w), "3a": (2 * w, 4 * w), "3b": (4 * w, 4 * w)}
        plan |= {"4a": (4 * w, 8 * w), "4b": (8 * w, 8 * w), "5a": (8 * w, 8 * w), "5b": (8 * w, 8 * w)}
        for name, (fan_in, fan_out) in plan.items():
            self.add_module(f"conv{name}", Conv3d(fan_in, fan_out, 3, padding=1))
            self.add_module(f"bn{name}", nn.BatchNorm3d(fan_out))
        self.num_features = 8 * w

    def _layer(self, name: str, x_BCTHW: Tensor) -> Tensor:
        return F.relu(self.get_submodule(f"bn{name}")(self.get_submodule(f"conv{name}")(x_BCTHW)), inplace=True)

    def _layers(self, names: tuple[str, ...], pool: tuple[int, int, int] | None, x_BCTHW: Tensor) -> Tensor:
        for name in names:
            x_BCTHW = self._layer(name, x_BCTHW)
        return x_BCTHW if pool is None else F.max_pool3d(x_BCTHW, pool)

    def forward_features(self, x_BCTHW: Tensor) -> Tensor:
        """See :class:`CNN3D`."""
        x = self._stage(partial(self._layers, ("1",), (1, 2, 2)), x_BCTHW)
        x = self._stage(partial(self._layers, ("2",), (2, 2, 2)), x)
        x = self._stage(partial(self._layers, ("3a", "3b"), (2, 2, 2)), x)
        x = self._stage(partial(self._layers, ("4a", "4b"), (2, 2, 2)), x)
        return self._stage(partial(self._layers, ("5a", "5b"), None), x)


class SpatioTemporalConv(nn.Module):
    """R3D's convolution: one full 3D kernel."""

    def __init__(self, fan_in: int, fan_out: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        self.temporal_spatial_conv = Conv3d(fan_in, fan_out, kernel, stride, padding, bias=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Convolve."""
        out: Tensor = self.temporal_spatial_conv(x_BCTHW)
        return out


class FactorisedConv(nn.Module):
    """R(2+1)D's convolution: in space, BatchNorm, ReLU, then in time, with as many parameters as the full kernel."""

    def __init__(
        self,
        fan_in: int,
        fan_out: int,
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int],
        middle: int | None = None,
    ) -> None:
        super().__init__()
        t, h, w = kernel
        middle = inner_width(fan_in, fan_out, kernel) if middle is None else middle
        self.spatial_conv = Conv3d(fan_in, middle, (1, h, w), (1, *stride[1:]), (0, h // 2, w // 2), bias=False)
        self.bn = nn.BatchNorm3d(middle)
        self.temporal_conv = Conv3d(middle, fan_out, (t, 1, 1), (stride[0], 1, 1), (t // 2, 0, 0), bias=False)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Convolve."""
        out: Tensor = self.temporal_conv(F.relu(self.bn(self.spatial_conv(x_BCTHW)), inplace=True))
        return out


def inner_width(fan_in: int, fan_out: int, kernel: tuple[int, int, int]) -> int:
    """Channels between the two parts of a factorised convolution that has no more parameters than the full one."""
    t, h, w = kernel
    return (t * h * w * fan_in * fan_out) // (h * w * fan_in + t * fan_out)


Conv = Callable[..., nn.Module]  # of channels in, channels out, kernel, stride


class Block(nn.Module):
    """Basic residual block; the first of a stage may halve time and space."""

    def __init__(self, conv: Conv, fan_in: int, fan_out: int, *, downsample: bool, torchvision: bool = False) -> None:
        super().__init__()
        stride = (2, 2, 2) if downsample else (1, 1, 1)
        self.downsample = downsample
        shortcut = conv
        if torchvision:  # one inner width for both convolutions, and a shortcut that is not factorised
            conv, shortcut = partial(conv, middle=inner_width(fan_in, fan_out, (3, 3, 3))), SpatioTemporalConv
        if downsample:
            self.downsampleconv = shortcut(fan_in, fan_out, (1, 1, 1), stride)
            self.downsamplebn = nn.BatchNorm3d(fan_out)
        self.conv1 = conv(fan_in, fan_out, (3, 3, 3), stride)
        self.bn1 = nn.BatchNorm3d(fan_out)
        self.conv2 = conv(fan_out, fan_out, (3, 3, 3), (1, 1, 1))
        self.bn2 = nn.BatchNorm3d(fan_out)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Residual sum, then ReLU."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x_BCTHW)), inplace=True)))
        shortcut = self.downsamplebn(self.downsampleconv(x_BCTHW)) if self.downsample else x_BCTHW
        return F.relu(y + shortcut, inplace=True)


class Stage(nn.Module):
    """Residual blocks of one width: ``block1``, then ``blocks.0 …``."""

    def __init__(self, block: Callable[..., Block], fan_in: int, fan_out: int, count: int, *, downsample: bool) -> None:
        super().__init__()
        self.block1 = block(fan_in, fan_out, downsample=downsample)
        self.blocks = nn.ModuleList(block(fan_out, fan_out, downsample=False) for _ in range(count - 1))

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Through all blocks."""
        x_BCTHW = self.block1(x_BCTHW)
        for block in self.blocks:
            x_BCTHW = block(x_BCTHW)
        return x_BCTHW


class ResNet3D(CNN3D):
    """R3D and R(2+1)D: a 3x7x7 stem with stride (1, 2, 2), no pool, four stages, the last three with stride 2.

    Args:
        torchvision: R(2+1)D as torchvision has it: other inner widths (45 of the stem, of 64), full shortcuts.
    """

    def __init__(
        self, conv: Conv, blocks: tuple[int, int, int, int], width: int = 64, *, torchvision: bool = False
    ) -> None:
        super().__init__()
        w = width
        stem = partial(conv, middle=45 * w // 64) if torchvision else conv
        block = partial(Block, conv, torchvision=torchvision)
        self.conv1 = stem(3, w, (3, 7, 7), (1, 2, 2))
        self.bn1 = nn.BatchNorm3d(w)
        self.conv2 = Stage(block, w, w, blocks[0], downsample=False)
        self.conv3 = Stage(block, w, 2 * w, blocks[1], downsample=True)
        self.conv4 = Stage(block, 2 * w, 4 * w, blocks[2], downsample=True)
        self.conv5 = Stage(block, 4 * w, 8 * w, blocks[3], downsample=True)
        self.num_features = 8 * w

    def forward_features(self, x_BCTHW: Tensor) -> Tensor:
        """See :class:`CNN3D`."""
        x = self._stage(self._stem, x_BCTHW)
        for stage in (self.conv2, self.conv3, self.conv4, self.conv5):
            x = self._stage(stage, x)
        return x

    def _stem(self, x_BCTHW: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv1(x_BCTHW)), inplace=True)


def _keep_frames(network: ResNet3D) -> ResNet3D:
    """TCLR's: the last stage halves space alone, and its first kernel looks at every other frame instead."""
    block: Any = network.conv5.block1
    for conv in (block.conv1.temporal_spatial_conv, block.downsampleconv.temporal_spatial_conv):
        conv.stride = (1, 2, 2)
    block.conv1.temporal_spatial_conv.dilation = block.conv1.temporal_spatial_conv.padding = (2, 1, 1)
    network.time_stride = 4
    return network


def build_cnn3d(name: CNN3DName, *, width: int = 64) -> CNN3D:
    """The 3D CNN called ``name``, freshly initialised (PyTorch's default initialisation, as the authors' code).

    Args:
        name: ``c3d``, ``r3d10``/``r3d18``/``r3d34``, ``r2plus1d10``/``r2plus1d18`` as VCOP has them; TCLR's
            ``r3d10-tclr``/``r3d18-tclr``, whose last stage keeps its frames; ``r2plus1d18-torchvision``.
        width: channels of the first stage; features are ``8 * width`` wide.

    Raises:
        ValueError: an unknown name.
    """
    if name not in get_args(CNN3DName):
        raise ValueError(f"no 3D CNN is called {name!r}; there are {', '.join(get_args(CNN3DName))}")
    if name == "c3d":
        return C3D(width)
    conv = FactorisedConv if name.startswith("r2plus1d") else SpatioTemporalConv
    network = ResNet3D(conv, BLOCKS[name], width, torchvision=name.endswith("-torchvision"))
    return _keep_frames(network) if name.endswith("-tclr") else network


def channels_last_(module: nn.Module) -> None:
    """Lay out every convolution's weight channels last, 2D and 3D alike, in place."""
    for parameter in module.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
        elif parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


class _CountedAlready:
    """While activations are computed again, BatchNorm's running statistics have seen the batch already.

    Entered once a backward pass, of which there may be several through one graph.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._kept: list[tuple[nn.Module, str, Tensor]] = []

    def __enter__(self) -> None:
        norms = [m for m in self._module.modules() if isinstance(m, _BatchNorm) and m.training]
        self._kept = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers(recurse=False)]
        for norm, name, buffer in self._kept:
            setattr(norm, name, buffer.clone())

    def __exit__(self, *raised: object) -> None:
        for norm, name, buffer in self._kept:
            setattr(norm, name, buffer)
