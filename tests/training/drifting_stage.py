"""Stages as ``stages.py`` puts them together, over made-up videos, and the comparison of what two trainings wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from training.rows import timeless

from cacl.config import Settings, resolve
from cacl.data.clips.batch import ClipBatch
from cacl.data.clips.loader import ClipLoader
from cacl.distributed.processes import rank, world
from cacl.errors import VideoError
from cacl.methods.contract import Method, MethodBatch
from cacl.presets import PRESETS
from cacl.training.checkpoint import load_checkpoint, newest_checkpoint
from cacl.training.loop import Stage
from cacl.training.stages import build_step, prepare_method
from cacl.training.views import augmented_views
from cacl.training.wiring import build_frames_network, build_method, frame_augment, initial_network

VIDEOS, BATCH = 32, 8  # 4 steps an epoch
TINY = {
    "data.frames": 4,
    "data.stride": 1,
    "data.resize": [36, 40],
    "augment.size": 32,
    "model.width": 4,
    "model.frame_width": 4,
    "model.token_width": 12,
    "model.depth": 1,
    "model.degree_hidden": 8,
    "model.degree_dropout": 0.5,
    "method.queue_size": 40,  # wraps around within 20 steps, not at the end of a batch
    "frames.queue_size": 40,
    "optim.batch_size": BATCH,
    "run.precision": "float32",
    "run.device": "cpu",
    "run.channels_last": False,
}
# The preset small has batch negatives with Tq, masked own keys, two moments, BatchNorm in its heads and one pass.
OTHERWISE = {
    "method.one_pass": False,
    "method.loss": "inside",
    "method.key_order": "swapped",
    "model.projection": "linear",
    "model.degree_input": "pair",
    "model.standardise": "none",
    "optim.optimizer": "sgd",
    "optim.lr": 1e-2,
}


class Drifting:
    """Coloured noise that drifts, its own in every video; ``bad`` videos cannot be read."""

    height, width = 36, 40

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.bad = bad

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        if video in self.bad:
            raise VideoError(f"v{video}.mp4", "breaks")
        rng = np.random.default_rng(video)
        base = rng.integers(0, 150, (36, 40, 3)) + rng.integers(0, 105, 3)
        return np.stack([np.roll(base, (video % 7 + 1) * int(t) // 4, axis=1) for t in indices]).astype(np.uint8)


def settings_of(**changes: Any) -> Settings:
    return resolve(PRESETS["small"], flags={**TINY, **changes}).settings


def build(settings: Settings, kind: str) -> Method:
    frame_encoder = build_frames_network(settings, weights=None)
    if kind == "frames":
        return settings.method.build_frames(settings, frame_encoder=frame_encoder)
    return build_method(settings, network=initial_network(settings), frame_encoder=frame_encoder, videos=VIDEOS)


def stage(folder: Path, settings: Settings, kind: str = "clips", *, epochs: int = 5, **changes: Any) -> Stage:
    """As ``stages.py`` puts it together, over made-up videos of which several share a number."""
    folder.mkdir(exist_ok=True)
    method = changes.pop("method", None) or build(settings, kind)
    prepare_method(method, settings.run, own_batchnorm=settings.method.own_batchnorm)
    dtype = next(method.parameters()).dtype
    augment, purpose = (frame_augment(settings), "frame") if kind == "frames" else (settings.augment, "clip")
    make = augmented_views(method, augment, seed=settings.run.seed, channels_last=False, purpose=purpose)

    def views(batch: ClipBatch) -> MethodBatch:
        made = make(batch)
        return replace(made, views=tuple(x.to(dtype) for x in made.views), video=made.video % 9)

    optim = settings.optim
    values: dict[str, Any] = {
        "name": "train",
        "step": build_step(method, views, optim, settings.run),
        "loader": ClipLoader(
            Drifting(changes.pop("bad", ())),
            [40] * VIDEOS,
            method.plan,
            seed=3,
            batch_size=BATCH,
            rank=rank(),
            world=world(),
            on_failure=changes.pop("heard", None),
        ),
        "video_names": [f"v{i}.mp4" for i in range(VIDEOS)],
        "learning_rate": lambda step: optim.lr,
        "epochs": epochs,
        "checkpoints": folder / "checkpoints",
        "metrics": folder / "metrics.jsonl",
        "log_every": 3,
        "save_minutes": 60.0,
    }
    return Stage(**{**values, **changes})


def state(folder: Path) -> dict[str, Tensor]:
    path = newest_checkpoint(folder / "checkpoints")
    assert path is not None
    found: dict[str, Tensor] = load_checkpoint(path)[1]["method"]
    return found


def compare(one: Path, several: Path, *, rtol: float, atol: float) -> None:
    """Every number of every step, weights and queue in the last checkpoint; running statistics to ten times that."""
    for expected, found in zip(timeless(one), timeless(several), strict=True):
        assert found.keys() == expected.keys()
        assert found.pop("kind") == expected.pop("kind")
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=10 * rtol if "grad" in key else rtol, abs=atol), key
    before, after = state(one), state(several)
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        allowed = 10 * atol if "running" in name else atol
        torch.testing.assert_close(after[name], tensor, rtol=0, atol=allowed, msg=lambda text, n=name: f"{n}: {text}")


def double_everywhere() -> None:
    """``.float()`` gives float64 in this (forked) process, so that rounding does not hide a wrong formula."""
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign, assignment]
