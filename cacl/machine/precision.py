"""Reduced precision is used only after every convolution of the model was found right at its own shapes.

``auto`` looks for a 16-bit type that the device has and is faster in, ``convolutions.py`` checks it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import nn

from cacl.distributed.processes import world
from cacl.errors import UserError
from cacl.machine.convolutions import Finding, autocast, check_convolutions
from cacl.machine.convolutions_cache import checked_convolutions

__all__ = ["Finding", "PrecisionChoice", "PrecisionName", "check_convolutions", "choose_precision"]

PrecisionName = Literal["auto", "float32", "bfloat16", "float16"]

_SPEED_UP = 1.2  # less than this over float32 is not worth the rounding


class PrecisionChoice(NamedTuple):
    """What ``choose_precision`` decided: the autocast type (``None`` for float32), and a sentence that says why."""

    dtype: torch.dtype | None
    why: str


def choose_precision(
    requested: PrecisionName,
    models: Sequence[tuple[nn.Module, Sequence[int]]],
    *,
    device: torch.device | str = "cpu",
) -> PrecisionChoice:
    """The autocast type to train with on this device, checked on the very models that will run.

    ``auto``: on CUDA bfloat16 from compute capability 8.0 on, float16 from 7.0 on; on a CPU bfloat16 where its
    instructions are there and a small probe runs faster with them; float32 on anything else, and wherever a convolution
    is found wrong.

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
    findings = [
        f for model, shape in models for f in checked_convolutions(model, shape, candidate.dtype, device=device)
    ]
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
        # of this GPU, not of the first; of several processes, the weakest of theirs
        several = range(int(os.environ.get("LOCAL_WORLD_SIZE", "1"))) if world() > 1 else ()
        major, minor = min(torch.cuda.get_device_capability(which) for which in (several or [device]))
        if major >= 8:
            return PrecisionChoice(torch.bfloat16, "bfloat16: this GPU has it")
        if major == 7:
            return PrecisionChoice(torch.float16, "float16: this GPU has no bfloat16")
        return PrecisionChoice(None, f"float32: this GPU has no fast 16 bits (compute capability {major}.{minor}).")
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
    """Processor time in float32 over that in bfloat16 of a small 3D convolution and its gradients, best of three.

    On one thread: where other programs run, several wait for each other, and their waiting counts as processor time.
    """
    seconds = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        x_BCTHW = torch.randn(2, 32, 8, 28, 28, device=device)
        conv = nn.Conv3d(32, 32, 3, padding=1).to(device)
    for dtype in (torch.float32, torch.bfloat16):
        times = []
        for _ in range(4):  # the first prepares the kernels
            start = time.process_time()  # other programs take the clock's time, not this
            with autocast(device, dtype):
                y_BCTHW = conv(x_BCTHW)
            y_BCTHW.sum().backward()
            times.append(time.process_time() - start)
        seconds[dtype] = min(times[1:])
    torch.set_num_threads(threads)
    return seconds[torch.float32] / seconds[torch.bfloat16]
