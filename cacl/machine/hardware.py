"""What this machine gives a training: memory, limits, disk, devices; each looked at once, with what to do about it.

``wrong`` is said only of what would break a training, ``note`` of what makes it slower or would break another one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from cacl.errors import UserError
from cacl.lock import try_lock
from cacl.machine.load import usable_processors

try:
    import resource
except ImportError:  # Windows, which has no such limits
    resource = None  # type: ignore[assignment]

Status = Literal["ok", "note", "wrong"]

_GIB = 2**30
_INFINITE = -1 if resource is None else resource.RLIM_INFINITY
_FEW_FILES, _ENOUGH_FILES = 128, 1024  # open at once; a training of 4 workers has about a hundred
_SMALLEST_FILE = 2 * _GIB  # a checkpoint of the paper's networks takes 1 GB
_TEST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of what.
        status: ``ok``, ``note`` or ``wrong``.
        found: what was found, on one line.
        advice: what to do about it; empty where nothing is to be done.
    """

    name: str
    status: Status
    found: str
    advice: str = ""


def check_devices() -> Check:
    """The device that ``auto`` takes, and a GPU that PyTorch cannot see."""
    if torch.cuda.is_available():
        names = []
        for number in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(number)
            names.append(f"{facts.name}, {facts.total_memory / _GIB:.0f} GiB, capability {facts.major}.{facts.minor}")
        return Check("devices", "ok", f"{len(names)} GPU: {'; '.join(names)} (CUDA {torch.version.cuda})")
    if torch.backends.mps.is_available():
        return Check("devices", "ok", "Apple GPU")
    cpus, threads = len(usable_processors()), torch.get_num_threads()
    found = f"no GPU; {cpus} processors, {threads} threads, {torch.backends.cpu.get_cpu_capability()}"
    if Path("/proc/driver/nvidia/version").exists():
        advice = (
            "There is an NVIDIA driver, but this PyTorch sees no GPU: install its CUDA build (pytorch.org) or, if it "
            "is one, a newer driver."
        )
        return Check("devices", "note", found, advice)
    if threads > cpus:
        return Check(
            "devices", "note", found, f"More threads than processors slow each other: --set run.threads={cpus}."
        )
    return Check("devices", "ok", found)


def check_memory() -> Check:
    """Memory that is free, and the limit of this process."""
    facts = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            name, value = line.split(":")
            facts[name] = int(value.split()[0]) * 1024
    free, total = facts.get("MemAvailable"), facts.get("MemTotal")
    limit = _INFINITE if resource is None else resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != _INFINITE and limit < 16 * _GIB:
        return Check("memory", "wrong", f"limited to {_size(limit)} (ulimit -v)", "Raise it: ulimit -v unlimited.")
    if free is None or total is None:
        return Check("memory", "ok", "cannot be told here")
    found = f"{_size(free)} of {_size(total)} free"
    if free < 2 * _GIB:
        return Check(
            "memory", "note", found, "Little is left: lower optim.batch_size or data.workers, or end something."
        )
    return Check("memory", "ok", found)


def check_shared_memory(folder: str = "/dev/shm") -> Check:
    """Shared memory: decoding uses none, several GPUs exchange gradients through it."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return Check("shared memory", "ok", f"no {folder} here; nothing needs it but several GPUs")
    found = f"{_size(usage.free)} of {_size(usage.total)} free in {folder}"
    if usage.free < _GIB:
        advice = "One process needs none of it. For several GPUs give the container more: docker run --shm-size=8g."
        return Check("shared memory", "note", found, advice)
    return Check("shared memory", "ok", found)


def check_limits() -> Check:
    """Open files, size of a file, processes."""
    if resource is None:
        return Check("limits", "ok", "this system has none")
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    size = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    found = f"{_limit(files)} open files, file size {_limit(size, size=True)}"
    if 0 <= size < _SMALLEST_FILE:
        return Check("limits", "wrong", found, "A checkpoint may not fit: ulimit -f unlimited.")
    if 0 <= files < _ENOUGH_FILES:
        status: Status = "wrong" if files < _FEW_FILES else "note"
        return Check("limits", status, found, "Raise the number of open files: ulimit -n 4096.")
    return Check("limits", "ok", found)


def check_disk(folder: Path) -> Check:
    """Whether a run can be written into a folder: space, locks, and how fast."""
    name = f"disk of {folder}"
    try:
        free = shutil.disk_usage(folder).free
        if free < 2 * _TEST_BYTES:
            return Check(name, "wrong", f"{_size(free)} free", "Make room: a run needs some gigabytes.")
        write, read = _speed(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return Check(name, "wrong", f"cannot be written ({reason})", "Choose another folder for runs (--out).")
    written, read = write / 1e6, read / 1e6
    found = f"{_size(free)} free, writes {written:.0f} MB/s, reads {read:.0f} MB/s"
    if free < 5 * _GIB:
        return Check(name, "note", found, "Make room: checkpoints and decoded frames take some gigabytes.")
    if min(written, read) < 30:
        advice = (
            "Slow: keep decoded frames on a local disk (cacl prepare VIDEOS --out FOLDER), and train on that folder."
        )
        return Check(name, "note", found, advice)
    return Check(name, "ok", found)


def disk_speed(folder: Path) -> tuple[int, float, float]:
    """Of the disk of a folder: bytes free, and bytes a second that are written and read.

    Raises:
        UserError: it cannot be written, or has no room for the test.
    """
    try:
        free = shutil.disk_usage(folder).free
        if free < 2 * _TEST_BYTES:
            raise UserError(f"{folder}: {_size(free)} are free there, too little to measure the disk; make room.")
        return free, *_speed(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error}); choose another folder.") from error


def _speed(folder: Path) -> tuple[float, float]:
    """Bytes a second that are written to the disk of a folder, and read from it."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".cacl-doctor-") as file:
        try_lock(file)
        block = os.urandom(2**20)
        start = time.perf_counter()
        for _ in range(_TEST_BYTES // len(block)):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        written = _TEST_BYTES / (time.perf_counter() - start)
        if hasattr(os, "posix_fadvise"):  # out of the cache: what is read then comes from the disk
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        start = time.perf_counter()
        while file.read(2**20):
            pass
        return written, _TEST_BYTES / (time.perf_counter() - start)


def _size(count: float) -> str:
    return f"{count / _GIB:.1f} GiB"


def _limit(value: int, *, size: bool = False) -> str:
    if value == _INFINITE:
        return "unlimited"
    return _size(value) if size else str(value)
