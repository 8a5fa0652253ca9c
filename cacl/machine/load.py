"""How many threads to compute with on a machine that is not ours alone.

Two threads that compute together wait for each other many thousand times a second. Where another program has one of
their processors, both stand still for much of the time, and less is done than by one thread alone
(``benchmarks/RESULTS.md``). So a thread is given only a processor that is free for the better part.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from cacl.errors import counted

WINDOW = 0.4  # seconds that are looked at
SHARED = "other programs use"  # how a reason for fewer threads begins

_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # of a processor's counters: idle, and waiting for a disk


def threads_auto() -> tuple[int, str]:
    """PyTorch's threads, or fewer where other programs keep processors busy, and why.

    ``OMP_NUM_THREADS`` is obeyed whatever the load is. Where the load cannot be told, PyTorch's choice stays.
    """
    most = torch.get_num_threads()
    if os.environ.get("OMP_NUM_THREADS", "").strip():
        return most, "OMP_NUM_THREADS"
    if most == 1:
        return 1, "PyTorch's choice for this machine"
    cpus, busy = len(usable_processors()), others_busy()
    if busy is None:
        return most, "PyTorch's choice for this machine, whose load cannot be told"
    threads = threads_for(most, cpus=cpus, busy=busy)
    if threads == most:
        return most, f"PyTorch's choice for this machine, of whose {cpus} processors others use {busy:.1f}"
    return threads, f"{SHARED} {busy:.1f} of {cpus} processors, and threads would wait for each other"


def threads_for(most: int, *, cpus: int, busy: float) -> int:
    """As many threads as processors are free for the better part, at least 1 and at most ``most``.

    Args:
        cpus: processors that this process may use.
        busy: how many of them other programs take, a sum of shares.
    """
    return max(1, min(most, math.ceil(cpus - busy - 0.5)))


@contextlib.contextmanager
def free_threads(say: Callable[[str], None]) -> Iterator[None]:
    """Compute on ``threads_auto`` threads here, as before afterwards.

    Args:
        say: told where they are fewer than they were.
    """
    before = torch.get_num_threads()
    threads, why = threads_auto()
    if threads < before:
        say(f"{counted(threads, 'thread')}: {why}.")
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """This thread computes alone: beside others that do, threads that help would wait busily for work of a moment.

    Threads that begin meanwhile compute alone, too.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def free_processors() -> int:
    """Processors that are free for the better part, at least 1; all that are ours where the load cannot be told."""
    cpus = len(usable_processors())
    return threads_for(cpus, cpus=cpus, busy=others_busy() or 0.0)


def others_busy(window: float = WINDOW, *, wait: Callable[[float], None] = time.sleep) -> float | None:
    """Processors of ours that other programs took in the last moments; None where that cannot be told.

    Linux counts what each processor does, of which our own share is taken away; elsewhere the system's load average of
    the last minute is taken.

    Args:
        window: seconds to look at.
        wait: lets so many pass.
    """
    before, began, own = _busy_seconds(), time.monotonic(), time.process_time()
    if before is None:
        return os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    wait(window)
    after, passed = _busy_seconds(), time.monotonic() - began
    if after is None or passed <= 0:
        return None
    taken = sum(after.values()) - sum(before.values()) - (time.process_time() - own)
    return min(max(0.0, taken / passed), float(len(before)))


def usable_processors() -> list[int]:
    """Numbers of the processors that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def _busy_seconds() -> dict[int, float] | None:
    """Seconds that each processor of ours was not idle since the system's start; None where Linux does not tell."""
    usable, found = set(usable_processors()), dict[int, float]()
    with contextlib.suppress(OSError, ValueError, AttributeError):  # the last: no sysconf, on Windows
        ticks = os.sysconf("SC_CLK_TCK")
        for line in _STAT.read_text(encoding="utf-8").splitlines():
            name, *counts = line.split()
            if name.startswith("cpu") and name != "cpu" and int(name[3:]) in usable:
                used = [int(count) for count in counts[:8]]  # behind these are guests, who are in the first two already
                found[int(name[3:])] = sum(n for place, n in enumerate(used) if place not in _IDLE) / ticks
    return found or None
