"""What is worth keeping from one run to the next: small files in the user's cache folder, and what names them.

A file that cannot be written or read is made again: nothing depends on it.
"""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path

import torch


def cache_folder(name: str) -> Path | None:
    """``$XDG_CACHE_HOME/cacl/NAME``, or ``~/.cache/cacl/NAME``; ``None`` for who has no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    try:
        caches = Path(given) if os.path.isabs(given) else Path.home() / ".cache"
    except RuntimeError:
        return None
    return caches / "cacl" / name


def keep(file: Path, text: str) -> None:
    """Write a file of the cache, whole or not at all."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)


def machine_facts(device: torch.device | str) -> list[object]:
    """Versions, processor, and what chooses between kernels."""
    device = torch.device(device)
    facts: list[object] = [torch.__version__, torch.__config__.show(), torch.get_num_threads(), str(device.type)]
    facts.append(torch.are_deterministic_algorithms_enabled())
    if device.type == "cuda":
        facts += [torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device), torch.version.cuda]
        facts += [cudnn_version(), torch.backends.cudnn.benchmark, torch.backends.cudnn.enabled]
    else:
        facts += [platform.machine(), torch.backends.cpu.get_cpu_capability(), _processor()]
    return facts


def cudnn_version() -> int | None:
    """91002 for 9.10.2; ``None`` without CUDA."""
    if not torch.cuda.is_available():
        return None
    number: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return number


def _processor() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor()
