"""What the check of the convolutions found, kept for the next run with the same network, versions and processor.

One small JSON file a check, in the user's cache folder; whatever may change the result is in its name. Where it cannot
be written or read the check is simply made again.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn

from cacl.machine.cache import cache_folder, keep, machine_facts
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
        keep(file, json.dumps([asdict(finding) for finding in findings]))
    return findings


def _read(file: Path) -> list[Finding] | None:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return [Finding(**{**row, "input_shape": tuple(row["input_shape"])}) for row in rows]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _file(model: nn.Module, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Path | None:
    """Where the result for this network lies; ``None`` where its source, or a home, is not to be had."""
    own = {type(module) for module in model.modules() if not type(module).__module__.startswith("torch.")}
    try:
        sources = sorted(inspect.getsource(kind) for kind in own)
    except (OSError, TypeError):
        return None
    folder = cache_folder("precision")
    if folder is None:
        return None
    strides = [(name, tuple(p.shape), p.stride()) for name, p in model.named_parameters()]  # the memory format
    facts = [str(model), strides, sources, list(shape), str(dtype), TOLERANCE, *machine_facts(device)]
    return folder / (hashlib.sha256(repr(facts).encode()).hexdigest()[:32] + ".json")
