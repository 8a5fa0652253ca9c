"""Reduced precision is used only after every convolution of the model was found right at its own shapes.

Some libraries compute 16-bit 3D convolutions wrongly on some devices and shapes (on CPUs with avx512_bf16, oneDNN
leaves the weight gradient of a convolution over two frames uninitialised; see ``docs/precision.md``). So forward, input
gradient and weight gradient of each distinct convolution are compared with float64, after free memory was filled with
huge values: what is never written then shows as huge, not as harmless zeros.

Shapes: B batch, C channels, T frames, H W pixels.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cacl.errors import UserError

PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]
Quantity = Literal["output", "input gradient", "weight gradient"]

# Rounding to bfloat16 (8 bits) costs 2-4e-3 in the 2-norm; a wrong kernel costs 1 or more.
TOLERANCE = 2e-2
_BATCH = 2
_POISON = 1e30
_SPEED_UP = 1.2  # less than this over float32 is not worth the rounding


@dataclass(frozen=True)
class Finding:
    """One convolution that is wrong in reduced precision.

    Attributes:
        layer: its name in the model, e.g. ``"conv5.block1.conv2.temporal_spatial_conv"``.
        quantity: what is wrong.
        error: 2-norm of the difference to float64 over the norm of the latter; ``inf`` when not finite.
        input_shape: the input that it was found with, ``(B, C, T, H, W)`` or ``(B, C, H, W)``.
    """

    layer: str
    quantity: Quantity
    error: float
    input_shape: tuple[int, ...]

    def __str__(self) -> str:
        shape = "x".join(str(n) for n in self.input_shape)
        return f"{self.quantity} of {self.layer} at {shape} (relative error {self.error:.1g})"


class PrecisionChoice(NamedTuple):
    """What ``choose_precision`` decided: the autocast type (``None`` for float32), and a sentence that says why."""

    dtype: torch.dtype | None
    why: str


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


def choose_precision(
    requested: PrecisionName,
    models: Sequence[tuple[nn.Module, Sequence[int]]],
    *,
    device: torch.device | str = "cpu",
) -> PrecisionChoice:
    """The autocast type to train with on this device, checked on the very models that will run.

    ``auto``: on CUDA bfloat16 where the GPU has it, else float16; on a CPU bfloat16 where its instructions are there
    and a small probe runs faster with them; float32 on anything else, and wherever a convolution is found wrong.

    Args:
        requested: the setting ``precision``.
        models: each model that will run under autocast, with the shape of its input (see ``check_convolutions``).

    Raises:
        UserError: bfloat16 or float16 was asked for by name and a convolution is wrong in it on this device.
    """
    device = torch.device(device)
    if requested == "float32":
        return PrecisionChoice(None, "float32, as set.")
    if requested == "auto":
        candidate = _candidate(device)
        if candidate.dtype is None:
            return candidate
    else:
        candidate = PrecisionChoice(getattr(torch, requested), f"{requested}, as set")
    assert candidate.dtype is not None
    findings = [f for model, shape in models for f in check_convolutions(model, shape, candidate.dtype, device=device)]
    name = str(candidate.dtype).removeprefix("torch.")
    if not findings:
        return PrecisionChoice(candidate.dtype, f"{candidate.why}; every convolution agrees with float64.")
    wrong = f"{findings[0]}" + (f" and {len(findings) - 1} more" if len(findings) > 1 else "")
    if requested == "auto":
        return PrecisionChoice(None, f"float32: in {name} this {device.type} device computes wrongly the {wrong}.")
    raise UserError(
        f"precision is {requested}, but in it this {device.type} device computes wrongly the {wrong}: "
        "set precision to 'auto' or 'float32'."
    )


def _candidate(device: torch.device) -> PrecisionChoice:
    """What ``auto`` would like on a device, before any check."""
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return PrecisionChoice(torch.bfloat16, "bfloat16: this GPU has it")
        return PrecisionChoice(torch.float16, "float16: this GPU has no bfloat16")
    if device.type != "cpu":
        return PrecisionChoice(None, f"float32: nothing else is used on {device.type} devices.")
    if not _cpu_has_bfloat16():
        return PrecisionChoice(None, "float32: this CPU has no bfloat16 instructions.")
    speed_up = _bfloat16_speed_up(device)
    if speed_up < _SPEED_UP:
        return PrecisionChoice(None, f"float32: a probe ran only {speed_up:.1f} times as fast in bfloat16.")
    return PrecisionChoice(torch.bfloat16, f"bfloat16: a probe ran {speed_up:.1f} times as fast as in float32")


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies in bfloat16 (avx512_bf16, amx_bf16, or bf16 of ARM) and PyTorch makes use of it."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        return False  # not Linux: not worth guessing, float32 is always right
    capability = torch.backends.cpu.get_cpu_capability()
    return (bool(words & {"avx512_bf16", "amx_bf16"}) and "AVX512" in capability) or "bf16" in words


def _bfloat16_speed_up(device: torch.device) -> float:
    """Seconds in float32 over seconds in bfloat16 of one small 3D convolution and its gradients, best of three each."""
    seconds = {}
    with torch.random.fork_rng(devices=[]):
        x_BCTHW = torch.randn(2, 32, 8, 28, 28, device=device)
        conv = nn.Conv3d(32, 32, 3, padding=1).to(device)
    for dtype in (torch.float32, torch.bfloat16):
        times = []
        for _ in range(4):  # the first prepares the kernels
            start = time.perf_counter()
            with _autocast(device, dtype):
                y_BCTHW = conv(x_BCTHW)
            y_BCTHW.sum().backward()
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times[1:])
    return seconds[torch.float32] / seconds[torch.bfloat16]


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
    # float64 with the plain function, not with the module: that is what is on trial. MPS has no float64: on the CPU.
    home = device if device.type in ("cpu", "cuda") else torch.device("cpu")
    x64 = x.detach().to(home).double().contiguous().requires_grad_(True)
    weight64 = weight.detach().to(home).double().contiguous().requires_grad_(True)
    bias64 = None if module.bias is None else module.bias.detach().to(home).double()
    convolve = F.conv3d if isinstance(module, nn.Conv3d) else F.conv2d
    geometry = (module.stride, module.padding, module.dilation, module.groups)
    y64 = convolve(x64, weight64, bias64, *geometry)  # type: ignore[arg-type]
    gradient = torch.randn(y64.shape, device=device).to(dtype).float().to(memory_format=case.memory_format)
    exact = (y64, *torch.autograd.grad(y64, (x64, weight64), gradient.to(home).double()))
    _poison([tensor.numel() for tensor in exact], device)
    with _autocast(device, dtype):
        y = module(x)
    _poison([tensor.numel() for tensor in exact], device)
    found = (y, *torch.autograd.grad(y, (x, weight), gradient.to(y.dtype)))
    quantities: tuple[Quantity, ...] = ("output", "input gradient", "weight gradient")
    errors = [_relative_error(a.detach(), b.detach()) for a, b in zip(found, exact, strict=True)]
    return [
        Finding(case.layer, quantity, error, case.input_shape)
        for quantity, error in zip(quantities, errors, strict=True)
        if not error <= tolerance
    ]


def _poison(sizes: Sequence[int], device: torch.device) -> None:
    """Fill memory with huge values and free it, in blocks of the sizes that are about to be asked for.

    Written as float32: read as two bfloat16 or float16 numbers it is huge as well.
    """
    blocks = [torch.full((max(1, n * size // 4),), _POISON, device=device) for n in sizes for size in (2, 4, 2, 4)]
    del blocks


def _relative_error(found: Tensor, exact: Tensor) -> float:
    error = float((found.to(exact.device).double() - exact).norm() / exact.norm())
    return error if error == error else float("inf")


def _autocast(device: torch.device, dtype: torch.dtype) -> AbstractContextManager[object]:
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)
