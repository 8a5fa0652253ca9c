"""What the check of the convolutions found, kept for the next run with the same network, versions and processor.

One small JSON file a check, in the user's cache folder; whatever may change the result is in its name. Where it cannot
be written or read the check is simply made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from cacl.machine.convolutions import TOLERANCE, Finding, check_convolutions


def checked_convolutions(
    model: nn.Module,
    input_shape: Sequence[int],
    dtype: torch.dtype,
    *,
    device: torch.device | str = "cpu",
    again: bool = False,
) -> list[Finding]:
    """``check_convolutions`` with its arguments, or what it found the last time.

    Args:
        again: make the check whatever is known, and keep what it finds.
    """
    device = torch.device(device)
    file = _file(model, (min(2, input_shape[0]), *input_shape[1:]), dtype, device)
    if not again and file is not None and (known := _read(file)) is not None:
        return known
    findings = check_convolutions(model, input_shape, dtype, device=device)
    if file is not None:
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(f".{os.getpid()}")
            partial.write_text(json.dumps([asdict(finding) for finding in findings]), encoding="utf-8")
            partial.replace(file)
    return findings


def cache_folder(name: str = "precision") -> Path:
    """``$XDG_CACHE_HOME/cacl/NAME``, or ``~/.cache/cacl/NAME``."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if os.path.isabs(home) else Path.home() / ".cache") / "cacl" / name


def _read(file: Path) -> list[Finding] | None:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return [Finding(**{**row, "input_shape": tuple(row["input_shape"])}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _file(model: nn.Module, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Path | None:
    """Where the result for this network lies; ``None`` where its source is not to be had."""
    own = {type(module) for module in model.modules() if not type(module).__module__.startswith("torch.")}
    try:
        sources = sorted(inspect.getsource(kind) for kind in own)
        folder = cache_folder()
    except (OSError, TypeError, RuntimeError):
        return None
    strides = [(name, tuple(p.shape), p.stride()) for name, p in model.named_parameters()]  # the memory format
    facts = [str(model), strides, sources, list(shape), str(dtype), TOLERANCE, *machine_facts(device)]
    return folder / (hashlib.sha256(repr(facts).encode()).hexdigest()[:32] + ".json")


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


def _processor() -> str:
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))
    return platform.processor()


def cudnn_version() -> int | None:
    """91002 for 9.10.2; ``None`` without CUDA."""
    if not torch.cuda.is_available():
        return None
    number: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return number
