"""Settings with which a training on ``squares`` takes a second."""

from __future__ import annotations

from typing import Any

TINY: dict[str, Any] = {
    "data.frames": 16,
    "data.stride": 2,
    "data.resize": [32, 40],
    "data.workers": 0,
    "data.store": "none",
    "augment.size": 32,
    "model.network": "r3d10",
    "model.width": 4,
    "model.frame_width": 4,
    "model.token_width": 12,
    "model.depth": 1,
    "model.degree_hidden": 8,
    "method.name": "cacl",
    "method.queue_size": 8,
    "optim.batch_size": 4,
    "optim.epochs": 2,
    "optim.warmup_epochs": 0.0,
    "frames.queue_size": 8,
    "frames.optim.batch_size": 8,
    "frames.optim.epochs": 1,
    "run.device": "cpu",
    "run.precision": "float32",
    "run.threads": 1,
    "run.log_every": 2,
}
FINETUNING: dict[str, Any] = {
    "data.store": "none",
    "data.workers": 0,
    "optim.batch_size": 4,
    "optim.epochs": 3,
    "test.clips": 3,
    "run.device": "cpu",
    "run.precision": "float32",
    "run.threads": 1,
}
