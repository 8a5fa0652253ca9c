"""Several processes that train one model: who they are, and the few things that they tell one another.

The global batch is cut by rank, so that the rows of all processes, one rank after the other, are the batch that a
single process would have. In a process alone every function here returns what it was given, and nothing is copied.

Shapes: W processes, b rows of one process, B = W * b rows of the global batch.
"""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from cacl.errors import UserError

TIMEOUT = timedelta(minutes=10)  # for a step's exchanges: longer than any checkpoint takes to write
PATIENCE = timedelta(days=30)  # for waiting while one process decodes or reads; the death of another ends it at once

Value = TypeVar("Value")
_patient: dist.ProcessGroup | None = None
_lost = False


class LostProcess(UserError):
    """Another process of the job has died, or answers no more."""


def world() -> int:
    """W, the number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if world() > 1 else 0


def is_first() -> bool:
    """Whether this process owns the run folder: it alone writes, logs and shows progress."""
    return rank() == 0


def join(timeout: timedelta = TIMEOUT) -> None:
    """Join the processes that ``--processes`` or torchrun has started, once; a process alone has nothing to join.

    They are found by torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT), speak gloo about
    tensors on the CPU and NCCL about those on GPUs (``choose_device`` gives each the GPU of its local rank).

    Args:
        timeout: for one exchange within a step; a process that is silent for longer counts as lost.

    Raises:
        LostProcess: not all of them came.
    """
    global _patient
    if _patient is not None or not dist.is_available():
        return
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return
        _follow_the_launcher()
        with _told():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.device_count() and dist.is_nccl_available() else "gloo",
                rank=int(os.environ["RANK"]),
                world_size=int(os.environ["WORLD_SIZE"]),
                timeout=timeout,
                **_meeting(timeout),
            )
        atexit.register(_leave)
    with _told():
        _patient = dist.new_group(backend="gloo", timeout=PATIENCE)


def _meeting(timeout: timedelta) -> dict[str, Any]:
    """Where the processes find each other, for ``init_process_group``."""
    place = os.environ.get("CACL_MEETING", "env://")  # set by cacl/distributed/launch.py
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if attempt == "0" or os.environ.get("GROUP_WORLD_SIZE") != "1":  # of several machines each counts for itself
        return {"init_method": place}
    # torchrun keeps one store for all attempts, in which the addresses of the dead would be found
    from torch.distributed.rendezvous import rendezvous  # not there in a PyTorch without processes

    store, _, _ = next(iter(rendezvous(place, timeout=timeout)))
    return {"store": dist.distributed_c10d.PrefixStore(f"attempt-{attempt}", store)}


def _leave() -> None:
    if not _lost:  # or it could wait for those that are gone
        dist.destroy_process_group()


def gathered(rows: Tensor) -> Tensor:
    """The rows of all processes: ``[b, …]`` to ``[B, …]``; gradients go back to the process each row came from.

    The gradient of a row is the sum of what all processes make of it. So where the loss of one process is the mean over
    its own rows, the mean over processes of the parameters' gradients is the gradient of the mean over all rows.
    """
    if world() == 1:
        return rows
    out: Tensor = _Gather.apply(rows) if rows.requires_grad else _gather(rows)  # type: ignore[no-untyped-call]
    return out


def own_rows(rows: Tensor) -> Tensor:
    """This process's part of ``[B, …]``: ``[b, …]``."""
    return rows.chunk(world())[rank()]


@torch.no_grad()
def summed(values: Tensor) -> Tensor:
    """The sum over the processes, without gradient."""
    if world() == 1:
        return values
    total = values.detach().clone(memory_format=torch.contiguous_format)
    with _told():
        dist.all_reduce(total)
    return total


def everyones(value: Value) -> list[Value]:
    """What each process has, in the order of their ranks; waits for as long as another one works."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    with _told():
        dist.all_gather_object(found, value, group=_patient)
    return found


def wait_for_first() -> None:
    """Wait until the first process is here too: what it alone does comes before."""
    if world() > 1:
        with _told():
            dist.barrier(group=_patient)


def first_alone(work: Callable[[], Value]) -> Value:
    """The first process does it, then the others, who find what it left on the disk."""
    if not is_first():
        wait_for_first()
        return work()
    value = work()
    wait_for_first()
    return value


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        return _gather(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return own_rows(summed(gradient))


@torch.no_grad()
def _gather(rows: Tensor) -> Tensor:
    rows = rows.detach().contiguous()
    parts = [torch.empty_like(rows) for _ in range(world())]
    with _told():
        dist.all_gather(parts, rows)
    return torch.cat(parts)


@contextmanager
def _told() -> Iterator[None]:
    """What PyTorch says of a lost process, as an error of ours."""
    global _lost
    try:
        yield
    except torch.OutOfMemoryError:
        raise  # this process's own trouble
    except RuntimeError as error:
        _lost = True
        reason = str(error).splitlines()[0].split("] ")[-1] if str(error) else type(error).__name__
        raise LostProcess(f"Another process of this job has gone, or answers no more ({reason})") from error


def _follow_the_launcher() -> None:
    """Stop, as SIGTERM does, when the process that started this one is killed: nobody would watch the others."""
    if "CACL_WATCH" not in os.environ:  # a pipe, from cacl/distributed/launch.py
        return
    pipe = int(os.environ["CACL_WATCH"])

    def watch() -> None:
        os.read(pipe, 1)  # nothing is ever written: it ends when the other end is closed
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="cacl-watch", daemon=True).start()
