"""What the tests of trainings compare: final weights bit for bit, and metrics without the clock."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training.rows import timeless


def fingerprint(run: Path) -> dict[str, Any]:
    """Everything of a finished run that must not depend on how often it was interrupted."""
    import torch

    (last,) = (run / "checkpoints" / "train").iterdir()
    found = json.loads((run / "finished.json").read_text())
    found["degree"].pop("frame-difference baseline")  # some tests do without it
    found["warnings"] = [warning for warning in found["warnings"] if "frame differences" not in warning]
    return {
        "checkpoint": _digest(torch.load(last / "state.pt", weights_only=True)),
        "encoder": hashlib.sha256((run / "encoder" / "model.safetensors").read_bytes()).hexdigest(),
        "untrained": hashlib.sha256((run / "initial" / "model.safetensors").read_bytes()).hexdigest(),
        "videos": (run / "videos.csv").read_text(),
        "metrics": timeless(run),
        "found": found,
        "files": sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.is_file() and "store" not in p.parts),
    }


def _digest(value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return str(value.dtype), list(value.shape), hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: _digest(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_digest(item) for item in value]
    return value


@pytest.fixture(scope="session", name="fingerprint")
def _fingerprint() -> Callable[[Path], dict[str, Any]]:
    return fingerprint
