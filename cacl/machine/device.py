"""The device to compute on: chosen, made the current one, and tried, before anything is left to it."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

from cacl.config import Run
from cacl.distributed.processes import world
from cacl.errors import UserError
from cacl.machine.device_errors import explained


def device_auto() -> tuple[str, str]:
    """The best device of this machine, and why."""
    if torch.cuda.is_available():
        return "cuda", f"{torch.cuda.get_device_name()} found"
    if torch.backends.mps.is_available():
        return "mps", "Apple GPU found"
    return "cpu", "no GPU found"


def choose_device(wanted: str = "auto", *, fallback: bool = False) -> tuple[str, str]:
    """The device to compute on, and why; a process of several takes its own GPU.

    Args:
        wanted: ``auto``, ``cpu``, ``mps``, ``cuda``, ``cuda:N``.
        fallback: where it is not there or cannot be computed on, the best device that can.

    Raises:
        UserError: it is not there, or cannot be computed on.
    """
    device, why = device_auto() if wanted == "auto" else (wanted, "as set")
    try:
        _take(device)
    except UserError as error:
        if not fallback:
            raise
        return ("cpu", str(error)) if wanted == "auto" else choose_device(fallback=True)
    return device, why


def run_device(
    run: Run, name: object, *, say: Callable[[str], None] = lambda text: None
) -> tuple[str, torch.dtype | None]:
    """Device and mixed precision of a run; the best device in float32 where this machine lacks the run's.

    Args:
        run: its settings.
        name: what it is called.
        say: told where it is not as in the run.
    """
    device, why = choose_device(run.device, fallback=True)
    if run.device not in ("auto", device):
        say(f"{name} was trained on {run.device}, which is not there; evaluating on {device} ({why}), in float32.")
        return device, None
    if run.precision == "bfloat16" and device.startswith("cuda") and torch.cuda.get_device_capability()[0] < 8:
        say(f"{name} was trained in bfloat16, which this GPU has not; evaluating in float32.")
        return device, None
    return device, None if run.precision in ("float32", "auto") else getattr(torch, run.precision)


def _take(device: str) -> None:
    kind, _, number = device.partition(":")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}.get(kind, True)
    if there and number:
        there = int(number) < torch.cuda.device_count()
    if not there:
        raise UserError(f"run.device is {device}, but PyTorch finds none here; set run.device=auto or cpu.")
    if kind == "cuda":
        _take_gpu(device, int(number) if number else int(os.environ.get("LOCAL_RANK", "0")) if world() > 1 else None)


def _take_gpu(device: str, number: int | None) -> None:
    """Make it the current one: pinned memory, names and waiting would mean the first one. Then compute something."""
    name, capability = "the GPU", ""
    try:
        if number is not None:
            torch.cuda.set_device(number % torch.cuda.device_count())
        name, capability = torch.cuda.get_device_name(), "{}.{}".format(*torch.cuda.get_device_capability())
        torch.ones(1, device=device).add_(1).cpu()
    except RuntimeError as error:
        reason = explained(error) or (str(error).splitlines() or [type(error).__name__])[0]
        found = f"{name}, compute capability {capability}," if capability else name
        raise UserError(f"run.device is {device}, but {found} cannot be used. {reason}") from error
