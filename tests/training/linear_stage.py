"""A stage with a small method of known arithmetic over real batches of a source without videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cacl.data.clips.batch import ClipBatch
from cacl.data.clips.loader import ClipLoader
from cacl.data.clips.sampling import ClipPlan
from cacl.errors import VideoError
from cacl.methods.contract import MAIN, Method, MethodBatch, StepOutput
from cacl.training.loop import Stage
from cacl.training.optim import build_optimizer, learning_rate
from cacl.training.step import Step

VIDEOS, BATCH, EPOCHS = 12, 4, 4  # 3 steps an epoch, 12 in all


class Noise:
    """Frames that depend on the video and the frame's number; ``bad`` videos cannot be read."""

    height, width = 2, 3

    def __init__(self, bad: Sequence[int] = ()) -> None:
        self.bad = bad

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        if video in self.bad:
            raise VideoError(f"v{video}.mp4", "breaks")
        values = (37 * video + 11 * indices) % 256
        return np.broadcast_to(values[:, None, None, None], (len(indices), 2, 3, 3)).astype(np.uint8)


def plan(frames: int, rng: np.random.Generator) -> ClipPlan:
    return ClipPlan((rng.integers(0, frames, 2),))


class Linear(Method):
    """Two terms over one layer; remembers the order in which it is called, and what it was told."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(2 * 2 * 3 * 3, 5)
        self.register_buffer("averaged", self.layer.weight.detach().clone())
        self.calls: list[Any] = []
        self.poison: Callable[[Tensor, int], Tensor] = lambda total, step: total
        self.told: tuple[Tensor, Tensor] | None = None
        self.steps = 0

    def forward(self, batch: MethodBatch) -> StepOutput:
        self.calls.append("forward")
        features = self.layer(batch.views[0].flatten(1))
        nce, degree = features.square().mean(), 0.5 * (features - 1).square().mean()
        total = self.poison(nce + degree, self.steps)
        self.steps += 1
        terms, metrics = {"nce": nce, "degree_loss": degree}, {"similarity": nce.detach()}
        return StepOutput({MAIN: total}, terms, metrics, features, {"features": features.detach()})

    def after_step(self, state: Mapping[str, Tensor], video: Tensor, progress: float) -> None:
        self.calls.append(("after", round(progress, 6)))
        self.told = (state["features"], video)
        self.averaged.mul_(0.9).add_(self.layer.weight.detach(), alpha=0.1)


def views(batch: ClipBatch) -> MethodBatch:
    return MethodBatch((batch.clips[0].float() / 255,), batch.targets, batch.video, torch.zeros(len(batch), 0))


def rate(step: int) -> float:
    return learning_rate(
        step,
        lr=0.1,
        schedule="cosine",
        schedule_per="step",
        milestones=(),
        warmup_epochs=1,
        steps_per_epoch=3,
        epochs=EPOCHS,
    )


def stage(folder: Path, **changes: Any) -> Stage:
    method = changes.pop("method", None) or Linear()
    bad, heard = changes.pop("bad", ()), changes.pop("heard", None)
    loader = ClipLoader(
        Noise(bad), [20] * VIDEOS, plan, seed=3, batch_size=BATCH, on_failure=None if heard is None else heard.append
    )
    values: dict[str, Any] = {
        "name": "train",
        "step": Step(
            method,
            build_optimizer(method, optimizer="sgd", lr=1.0, weight_decay=0.0),
            views,
            torch.device("cpu"),
            **{key: changes.pop(key) for key in ("accumulate", "clip_gradient") if key in changes},
        ),
        "loader": loader,
        "video_names": [f"v{i}.mp4" for i in range(VIDEOS)],
        "learning_rate": rate,
        "epochs": EPOCHS,
        "checkpoints": folder / "checkpoints",
        "metrics": folder / "metrics.jsonl",
        "log_every": 5,
        "save_minutes": 60.0,
    }
    return Stage(**{**values, **changes})
