"""Nothing in a step makes the host wait for the device: no number of it is read, nothing depends on its values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cacl.config import resolve
from cacl.data.clips.loader import ClipLoader
from cacl.presets import PRESETS
from cacl.training import loop
from cacl.training.loop import Stage, train
from cacl.training.stages import build_step
from cacl.training.stop import StopRequest
from cacl.training.views import augmented_views
from cacl.training.wiring import build_frames_network, build_method, initial_network

TINY = {
    "data.frames": 8,
    "data.resize": [32, 40],
    "augment.size": 32,
    "model.network": "r3d10",
    "model.width": 4,
    "model.frame_encoder": "resnet18",
    "model.frame_width": 4,
    "model.token_width": 12,
    "model.heads": 3,
    "model.depth": 1,
    "model.degree_hidden": 8,
    "method.queue_size": 16,
    "frames.queue_size": 16,
    "optim.clip_gradient": 1.0,
    "run.device": "cpu",
    "run.precision": "float32",
}
WAITING = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::masked_select", "aten::unique_dim"}


class Frames:
    height, width = 32, 40

    def read(self, video: int, indices: Any) -> Any:
        return np.random.default_rng(video).integers(0, 256, (len(indices), 32, 40, 3), dtype=np.uint8)


class Watch(TorchDispatchMode):
    """Notes every operation whose result the host reads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.name().split(".")[0]
        boolean = name.startswith("aten::index") and any(
            isinstance(i, torch.Tensor) and i.dtype == torch.bool for i in (args[1] if len(args) > 1 else []) or []
        )
        if name in WAITING or boolean:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("kind", ["clips", "frames"])
def test_only_steps_that_log_read_numbers(preset: str, kind: str, tmp_path: Path, monkeypatch: Any) -> None:
    settings = resolve(PRESETS[preset], flags=TINY).settings
    encoder = build_frames_network(settings, weights=None)
    method = settings.method.build_frames(settings, frame_encoder=encoder)
    if kind == "clips":
        method = build_method(settings, network=initial_network(settings), frame_encoder=encoder, videos=8)
    waits: list[list[str]] = []
    whole = loop._step

    def watched(*parts: Any) -> Any:
        with Watch() as watch:
            found = whole(*parts)
        waits.append(watch.found)
        return found

    monkeypatch.setattr(loop, "_step", watched)
    views = augmented_views(
        method,
        settings.augment,
        seed=settings.run.seed,
        channels_last=False,
        video_of=torch.arange(8) if kind == "frames" else None,
    )
    stage = Stage(
        name="train",
        step=build_step(method, views, settings.optim, settings.run),
        loader=ClipLoader(Frames(), [60] * 8, method.plan, seed=0, batch_size=4),
        video_names=[f"v{i}" for i in range(8)],
        learning_rate=lambda step: 1e-3,
        epochs=2,
        checkpoints=tmp_path / "checkpoints",
        metrics=tmp_path / "metrics.jsonl",
        log_every=3,
        save_minutes=60.0,
        fetch_every=4,
    )
    train(stage, StopRequest())
    assert len(waits) == 4
    assert waits[0]  # the norms of gradients
    assert waits[3]
    assert waits[1] == waits[2] == []
