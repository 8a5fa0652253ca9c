"""BatchNorm over the batch of all processes, on any device.

``nn.SyncBatchNorm`` refuses tensors on the CPU. Every process has equally many rows (the loader cuts the batch so),
which makes the statistics of all a plain mean over processes. Sums are float32, whatever the input's type.

Shapes: C channels, W processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from cacl.distributed.processes import gathered, summed, world


class GlobalBatchNorm(_BatchNorm):
    """In training, ``nn.BatchNorm1d/2d/3d`` of the global batch; alone or in evaluation the same as these."""

    @classmethod
    def of(cls, other: _BatchNorm) -> GlobalBatchNorm:
        """The same layer: it shares parameters and statistics with the other one."""
        layer = cls(other.num_features, eps=other.eps, momentum=other.momentum, affine=False)
        layer.affine, layer.weight, layer.bias = other.affine, other.weight, other.bias
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            setattr(layer, name, getattr(other, name))
        return layer.train(other.training)

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise ``[b, C, …]``."""
        if not self.training or world() == 1:
            return super().forward(input)
        mean_C, variance_C = _statistics(input.detach(), self.eps)
        stats_W2C = gathered(torch.stack([mean_C, variance_C])[None])
        mean_C = stats_W2C[:, 0].mean(0)
        variance_C = (stats_W2C[:, 1] + (stats_W2C[:, 0] - mean_C).square()).mean(0)
        self._track(mean_C, variance_C, world() * input.numel() // input.shape[1])
        return _Normalise.apply(input, self.weight, self.bias, mean_C, variance_C, self.eps)  # type: ignore

    @torch.no_grad()
    def _track(self, mean_C: Tensor, variance_C: Tensor, count: int) -> None:
        """Running statistics, the variance unbiased, as PyTorch does it."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean_C, self.momentum)
        self.running_var.lerp_(variance_C * (count / max(1, count - 1)), self.momentum)


def global_batchnorm_(module: nn.Module) -> None:
    """Make every BatchNorm below ``module`` one over all processes, in place; names and parameters stay."""
    for name, child in module.named_children():
        if isinstance(child, _BatchNorm):
            setattr(module, name, GlobalBatchNorm.of(child))
        else:
            global_batchnorm_(child)


class _Normalise(torch.autograd.Function):
    """Given statistics of the global batch, which depend on the input of every process."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight_C: Tensor | None,
        bias_C: Tensor | None,
        mean_C: Tensor,
        variance_C: Tensor,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(x, weight_C, mean_C, (variance_C + eps).rsqrt())
        return F.batch_norm(x, mean_C, variance_C, weight_C, bias_C, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """With g the gradient and n = (x - mean) / deviation: (g - mean(g) - n mean(g n)) weight / deviation.

        PyTorch's own backward pass takes the means of this process's rows; what those of all rows differ is added.
        """
        x, weight_C, mean_C, inverse_C = ctx.saved_tensors
        scale_C = torch.ones_like(mean_C) if weight_C is None else weight_C
        at_x, sum_gn_C, sum_g_C = torch.ops.aten.native_batch_norm_backward(
            gradient, x, scale_C, None, None, mean_C, inverse_C, True, 0.0, [True, True, True]
        )
        sums_2C, rows = torch.stack([sum_g_C, sum_gn_C]), x.numel() // x.shape[1]
        more_g_C, more_gn_C = (summed(sums_2C) / world() - sums_2C) / rows
        slope_C = inverse_C.square() * scale_C * more_gn_C
        constant_C = inverse_C * scale_C * more_g_C - slope_C * mean_C
        shape = (1, -1, *[1] * (x.ndim - 2))
        at_x -= torch.addcmul(constant_C.view(shape), x, slope_C.view(shape))
        if weight_C is None:
            return at_x, None, None, None, None, None
        return at_x, sum_gn_C, sum_g_C, None, None, None


def _statistics(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel over this process's rows, at least float32, in one pass of PyTorch's own."""
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    ones_C = torch.ones(x.shape[1], dtype=wide, device=x.device)
    _, mean_C, inverse_C = torch.native_batch_norm(x, ones_C, ones_C, None, None, True, 0.0, eps)
    return mean_C, (inverse_C.pow(-2) - eps).clamp_min(0)
