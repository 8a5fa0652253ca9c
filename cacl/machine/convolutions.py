"""Every distinct convolution of a model, at its own shapes, against float64.

Some libraries compute 16-bit 3D convolutions wrongly on some devices and shapes (on CPUs with avx512_bf16, oneDNN
leaves the weight gradient of a convolution over two frames uninitialised; see ``docs/precision.md``). So forward, input
gradient and weight gradient of each distinct convolution are compared with float64, after free memory was filled with
huge values: what is never written then shows as huge, not as harmless zeros.

Shapes: B batch, C channels, T frames, H W pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cacl.machine.device_errors import out_of_memory

Quantity = Literal["output", "input gradient", "weight gradient"]

# Rounding to bfloat16 (8 bits) costs 2-4e-3 in the 2-norm; a wrong kernel costs 1 or more.
TOLERANCE = 2e-2
_BATCH = 2
_POISON = 1e30
_CHANNELS = 32  # compared with float64, of each convolution
_FAR = 20.0  # channels of random numbers differ by a few times at most


@dataclass(frozen=True)
class Finding:
    """One convolution that is wrong in reduced precision.

    Attributes:
        layer: its name in the model, e.g. ``"conv5.block1.conv2.temporal_spatial_conv"``.
        quantity: what is wrong.
        error: 2-norm of the difference to float64 over the norm of the latter; ``inf`` when not finite, or refused.
        input_shape: the input that it was found with, ``(B, C, T, H, W)`` or ``(B, C, H, W)``.
    """

    layer: str
    quantity: Quantity
    error: float
    input_shape: tuple[int, ...]

    def __str__(self) -> str:
        shape = "x".join(str(n) for n in self.input_shape)
        return f"{self.quantity} of {self.layer} at {shape} (relative error {self.error:.1g})"


@dataclass(frozen=True)
class _Case:
    """One distinct convolution: its module, and the shape and memory format of the input that it met."""

    layer: str
    module: nn.Conv2d | nn.Conv3d
    input_shape: tuple[int, ...]
    memory_format: torch.memory_format


def check_convolutions(
    model: nn.Module,
    input_shape: Sequence[int],
    dtype: torch.dtype,
    *,
    device: torch.device | str = "cpu",
    tolerance: float = TOLERANCE,
) -> list[Finding]:
    """Compare every distinct convolution of ``model`` with float64: output, input gradient and weight gradient.

    The convolutions run as they will in training: the model's own modules under autocast, in its own memory format.
    Weights, inputs and gradients are random; those of the model, its BatchNorm statistics, its mode and the state of
    the random generators are left alone.

    Args:
        model: any module with ``nn.Conv2d`` or ``nn.Conv3d`` (or subclasses) in it, on ``device``.
        input_shape: what the model is given, with the batch first, e.g. ``(64, 3, 16, 112, 112)``; the batch is cut
            to 2.
        dtype: ``torch.bfloat16`` or ``torch.float16``; float32 is allowed too.
        tolerance: largest relative error in the 2-norm.

    Returns:
        What is wrong; empty when nothing is.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        cases = _record_convolutions(model, (min(_BATCH, input_shape[0]), *input_shape[1:]), device)
        return [finding for case in cases for finding in _check(case, dtype, device, tolerance)]


def _record_convolutions(model: nn.Module, input_shape: Sequence[int], device: torch.device) -> list[_Case]:
    """Run the model once and note each distinct convolution with the input that reaches it."""
    cases: dict[tuple[object, ...], _Case] = {}

    def note(layer: str, module: nn.Conv2d | nn.Conv3d, x: Tensor) -> None:
        last = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
        # as training does: a channels-last weight makes the whole network run channels-last
        channels_last = module.weight.is_contiguous(memory_format=last) and not module.weight.is_contiguous()
        memory_format = last if channels_last or not x.is_contiguous() else torch.contiguous_format
        geometry = (module.kernel_size, module.stride, module.padding, module.dilation, module.groups)
        key = (type(module), module.weight.shape, module.bias is None, geometry, x.shape, memory_format)
        cases.setdefault(key, _Case(layer, module, tuple(x.shape), memory_format))

    hooks = [
        module.register_forward_pre_hook(lambda module, inputs, layer=name: note(layer, module, inputs[0]))
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Conv3d)
    ]
    modes = [(module, module.training) for module in model.modules()]
    model.eval()  # BatchNorm must not learn from this
    try:
        with torch.no_grad():
            model(torch.rand(tuple(input_shape), device=device))
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    return list(cases.values())


def _check(case: _Case, dtype: torch.dtype, device: torch.device, tolerance: float) -> list[Finding]:
    module = copy.deepcopy(case.module).requires_grad_(True)
    weight = module.weight
    with torch.no_grad():
        # rounded beforehand, so that both sides see the same numbers and only the arithmetic differs
        weight.copy_((torch.randn_like(weight) / weight[0].numel() ** 0.5).to(dtype))
        x = torch.randn(case.input_shape, device=device).to(dtype).float().to(memory_format=case.memory_format)
    x.requires_grad_(True)
    exact = _exact(module, x, weight, dtype)
    gradient = exact.gradient.to(device).float().to(memory_format=case.memory_format)
    sizes = [gradient.numel(), x.numel(), weight.numel()]
    _poison(sizes, device)
    try:
        with autocast(device, dtype):
            y = module(x)
        _poison(sizes, device)
        x_gradient, weight_gradient = torch.autograd.grad(y, (x, weight), gradient.to(y.dtype))
    except RuntimeError as error:
        if dtype == torch.float32 or out_of_memory(error):
            raise
        return [Finding(case.layer, "output", float("inf"), case.input_shape)]  # the library has no kernel for it
    errors: dict[Quantity, float] = {
        "output": _relative_error(y.detach(), exact.output, exact.out_channels, dim=1),
        "input gradient": _relative_error(x_gradient, exact.input_gradient, exact.in_channels, dim=1),
        "weight gradient": _relative_error(weight_gradient, exact.weight_gradient, exact.out_channels, dim=0),
    }
    return [
        Finding(case.layer, name, error, case.input_shape) for name, error in errors.items() if not error <= tolerance
    ]


@dataclass(frozen=True)
class _Exact:
    """A convolution in float64: output and weight gradient of some output channels, gradient of some input channels."""

    gradient: Tensor  # of the output, given
    out_channels: Tensor
    in_channels: Tensor
    output: Tensor
    input_gradient: Tensor
    weight_gradient: Tensor


def _exact(module: nn.Conv2d | nn.Conv3d, x: Tensor, weight: Tensor, dtype: torch.dtype) -> _Exact:
    """With the plain function, not with the module: that is what is on trial. MPS has no float64: on the CPU.

    Of wide convolutions some channels are enough to tell a kernel that is wrong; all would take a minute.
    """
    home = x.device if x.device.type in ("cpu", "cuda") else torch.device("cpu")
    x64, weight64 = x.detach().to(home).double().contiguous(), weight.detach().to(home).double().contiguous()
    bias64 = None if module.bias is None else module.bias.detach().to(home).double()
    convolve = F.conv3d if isinstance(module, nn.Conv3d) else F.conv2d
    geometry = (module.stride, module.padding, module.dilation, module.groups)
    outs = _some(weight64.shape[0] if module.groups == 1 else 0, weight64.shape[0]).to(home)
    ins = _some(x64.shape[1] if module.groups == 1 else 0, x64.shape[1]).to(home)
    some_weight, some_x = weight64[outs].requires_grad_(True), x64[:, ins].requires_grad_(True)
    bias = None if bias64 is None else bias64[outs]
    y64 = convolve(x64, some_weight, bias, *geometry)  # type: ignore[arg-type]
    shape = (len(x64), weight64.shape[0], *y64.shape[2:])
    gradient = torch.randn(shape, device=x.device).to(dtype).to(home).double()
    (weight_gradient,) = torch.autograd.grad(y64, some_weight, gradient[:, outs])
    per_group = weight64 if module.groups > 1 else weight64[:, ins]
    part = convolve(some_x, per_group, None, *geometry)  # type: ignore[arg-type]
    (input_gradient,) = torch.autograd.grad(part, some_x, gradient)
    return _Exact(gradient, outs, ins, y64.detach(), input_gradient, weight_gradient)


def _some(count: int, of: int) -> Tensor:
    """All channels up to 32, else 32 of them with the first and the last."""
    if count <= _CHANNELS:
        return torch.arange(of)
    return torch.cat([torch.tensor([0, of - 1]), 1 + torch.randperm(of - 2)[: _CHANNELS - 2]])


def _poison(sizes: Sequence[int], device: torch.device) -> None:
    """Fill memory with huge values and free it, in blocks of the sizes that are about to be asked for.

    Written as float32: read as two bfloat16 or float16 numbers it is huge as well.
    """
    blocks = [torch.full((max(1, n * size // 4),), _POISON, device=device) for n in sizes for size in (2, 4, 2, 4)]
    del blocks


def _relative_error(found: Tensor, exact: Tensor, channels: Tensor, *, dim: int) -> float:
    """Of the channels that are known; ``inf`` where any other is not finite, or far larger than they are."""
    found = found.to(exact.device).double()
    error = float((found.index_select(dim, channels) - exact).norm() / exact.norm())
    largest = found.movedim(dim, 0).flatten(1).norm(dim=1).max()
    usual = exact.movedim(dim, 0).flatten(1).norm(dim=1).median()
    if len(channels) < found.shape[dim] and not largest <= _FAR * usual:
        return float("inf")
    return error if error == error else float("inf")


def autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    """Autocast to a 16-bit type; nothing for float32."""
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
