"""What several processes agree on while they train: gradients, numbers to log, when to save and when to stop.

In a process alone each function returns what it was given, bit for bit.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import torch
from torch import nn

from cacl.distributed.processes import gathered, summed, world
from cacl.errors import UserError


@torch.no_grad()
def average_gradients(module: nn.Module) -> None:
    """Every parameter's gradient becomes its mean over the processes, in one exchange.

    That is the gradient of one process with the whole batch, since a loss is a mean over samples and every process has
    equally many; see ``gathered`` for what goes from one process to another within the loss.
    """
    if world() == 1:
        return
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    means = summed(torch.cat([gradient.flatten() for gradient in gradients])) / world()
    for gradient, mean in zip(gradients, torch.split(means, [g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def any_wants(*asked: int) -> list[int]:
    """What one process asks for all do: the largest number at each place."""
    if world() == 1:
        return list(asked)
    numbers: list[int] = gathered(torch.tensor([asked])).amax(dim=0).tolist()
    return numbers


def limit_threads(threads: int) -> int:
    """So many of PyTorch's threads that the processes of this machine do not take more than it has."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if world() > 1 else 1
    return threads if local == 1 else max(1, min(threads, (os.cpu_count() or 1) // local))


def check_shares(batch_sizes: Mapping[str, tuple[int, int]], processes: int, *, own_batchnorm: bool) -> None:
    """Whether so many processes can share the batches; the rest as of ``check_processes``.

    Raises:
        UserError: they cannot.
    """
    least = 2 if own_batchnorm else 1  # BatchNorm has nothing to average over one clip
    for key, (size, parts) in batch_sizes.items():
        shares = processes * parts
        if size % shares or size // shares < least:
            nearest, pieces = max(least, round(size / shares)) * shares, f" in {parts} parts" * (parts > 1)
            raise UserError(
                f"{key} is {size}, which {processes} processes cannot share equally{pieces}; set it to {nearest}."
            )


def check_processes(
    *, device: str, batch_sizes: Mapping[str, tuple[int, int]], compiled: bool, own_batchnorm: bool = False
) -> None:
    """Whether settings fit the number of processes; nothing to check in a process alone.

    Args:
        device: what ``run.device`` is, or will be.
        batch_sizes: setting -> clips or frames of a step, over all processes; in how many parts, one after the other.
        compiled: ``run.compile``.
        own_batchnorm: whether each process normalises its own share of a batch.

    Raises:
        UserError: what does not fit.
    """
    if world() == 1:
        return
    if compiled:
        raise UserError("run.compile is for one process: what several exchange cannot be compiled; set it to false.")
    check_shares(batch_sizes, world(), own_batchnorm=own_batchnorm)
    # all of a machine's processes refuse alike, before one of them makes a run folder
    local = int(os.environ.get("LOCAL_WORLD_SIZE", int(os.environ.get("LOCAL_RANK", "0")) + 1))
    gpus = torch.cuda.device_count()
    if device == "cuda" and local > gpus > 0:  # none: choose_device says so
        raise UserError(
            f"Each process takes a GPU of its own, and this machine has {gpus} for {local} processes: start {gpus} or "
            "fewer, or set run.device=cpu."
        )
    if device == "cuda" and not torch.distributed.is_nccl_available():
        raise UserError("Several GPUs need NCCL, which this PyTorch lacks: use one process, or set run.device=cpu.")
    if device not in ("cpu", "cuda"):
        raise UserError(f"run.device is {device}, which several processes cannot share; set it to cuda or cpu.")
