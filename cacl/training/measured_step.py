"""How long a step of a training takes on this device, measured on random clips in the shapes of its settings.

The step is the loop's: augmentation, loss, gradients, optimiser, momentum copies and queue; reading videos is no part
of it. On a GPU the whole batch is measured, or the largest half of it, quarter … that its memory holds; on a CPU a few
clips, scaled to the batch.

Shapes: B batch, N moments, T frames, H W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cacl.config import Augment, Settings
from cacl.data.clips.loader import ClipBatch
from cacl.finetune_settings import FineTune
from cacl.machine.auto import channels_last
from cacl.machine.device_errors import out_of_memory
from cacl.methods.batch import StepOutput, ViewBatch
from cacl.methods.cacl import CACL
from cacl.methods.classify import Classify
from cacl.methods.frame_moco import FrameMoCo
from cacl.models.cnn3d import channels_last_
from cacl.training.optim import build_optimizer
from cacl.training.wiring import (
    augmented_views,
    build_frame_moco,
    build_frames_network,
    build_method,
    initial_network,
    views_maker,
)

CPU_CLIPS = 2  # the fewest that BatchNorm can average over
CPU_FRAMES = 16
_WARM_UP, _STEPS = 2, 3  # on a GPU
_VIDEO_FRAMES = 200


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step of the whole batch, and with how many clips at once they were measured."""

    seconds: float
    clips: int


def pretrain_step(settings: Settings, device: str) -> StepTime:
    """Of CACL or the ablation that the settings describe; ``queue_size`` is a number."""
    frames = build_frames_network(settings, weights=None) if settings.uses_transformer else None
    method = build_method(settings, network=initial_network(settings), frame_encoder=frames)
    return _measured(method, views_maker(settings, method=method), settings, settings.optim.batch_size, device)


def frames_step(settings: Settings, device: str) -> StepTime:
    """Of MoCo on frames."""
    assert settings.frames.queue_size != "auto"
    network = build_frames_network(settings, weights=None)
    method = build_frame_moco(settings, network, queue_size=settings.frames.queue_size)
    return _measured(method, views_maker(settings, method=method), settings, settings.frames.optim.batch_size, device)


def finetune_step(settings: Settings, finetuning: FineTune, device: str, *, classes: int = 101) -> StepTime:
    """Of fine-tuning the network of a pretraining's settings."""
    batch = finetuning.optim.batch_size
    method = Classify(
        initial_network(settings),
        classes=classes,
        labels=[0] * batch,
        frames=settings.data.frames,
        stride=settings.data.stride,
        standardise=settings.model.standardise,
        norm=finetuning.model.norm,
        dropout=finetuning.model.dropout,
    )
    own = settings.augment
    augment = Augment(size=own.size, mean=own.mean, std=own.std, **finetuning.augment.model_dump())
    views = augmented_views(method, augment, seed=0, channels_last=channels_last(finetuning.run, device))
    return _measured(method, views, settings, batch, device)


def embedding_time(settings: Settings, device: str) -> StepTime:
    """Of one clip through the frozen 3D CNN, as every evaluation needs it."""
    network, clips = initial_network(settings).to(device).eval(), CPU_CLIPS if device == "cpu" else 32
    size, autocast = settings.augment.size, _autocast(settings, device)
    x_BCTHW = torch.rand(clips, 3, settings.data.frames, size, size, device=device)

    @torch.no_grad()
    def step() -> None:
        with autocast():
            network(x_BCTHW)

    return StepTime(_seconds(step, device) / clips, clips)


def _measured(
    method: CACL | FrameMoCo | Classify,
    make_views: Callable[[ClipBatch], ViewBatch],
    settings: Settings,
    batch: int,
    device: str,
) -> StepTime:
    """The time of a whole batch, from as many clips as fit."""
    method = method.to(device).train()
    if channels_last(settings.run, device):
        channels_last_(method)
    few = CPU_FRAMES if isinstance(method, FrameMoCo) else CPU_CLIPS
    clips = min(batch, few) if device == "cpu" else batch
    while True:
        try:
            seconds = _seconds(_step(method, make_views, settings, clips, device), device)
        except RuntimeError as error:
            if clips < 2 * CPU_CLIPS or not out_of_memory(error):
                raise
        else:
            return StepTime(seconds * batch / clips, clips)
        clips //= 2
        torch.cuda.empty_cache()  # here, behind the handler, nothing of the step that failed is held any more


def _step(
    method: CACL | FrameMoCo | Classify,
    make_views: Callable[[ClipBatch], ViewBatch],
    settings: Settings,
    clips: int,
    device: str,
) -> Callable[[], None]:
    """One step as ``training/loop.py`` takes it."""
    rng, frames = np.random.default_rng(0), 1 if isinstance(method, FrameMoCo) else settings.data.frames
    plans = [method.plan(_VIDEO_FRAMES, rng) for _ in range(clips)]
    shape = (clips, settings.data.moments if isinstance(method, CACL) else 1, frames, *settings.data.resize, 3)
    pixels = torch.from_numpy(rng.integers(0, 256, shape, dtype=np.uint8))
    targets = {name: torch.stack([torch.as_tensor(plan.targets[name]) for plan in plans]) for name in plans[0].targets}
    order = torch.arange(clips)
    raw = ClipBatch(pixels, targets, order, order, epoch=0)
    optimizer = build_optimizer(method, optimizer=settings.optim.optimizer, lr=1e-4, weight_decay=0.0)
    autocast = _autocast(settings, device)

    def step() -> None:
        batch = make_views(raw.to(device))
        with autocast():
            output: StepOutput = method(batch)
        optimizer.zero_grad(set_to_none=True)
        output.terms["total"].backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        method.after_step(output, progress=0.0)

    return step


def _autocast(settings: Settings, device: str) -> Callable[[], Any]:
    precision = settings.run.precision
    if precision in ("float32", "auto"):
        return nullcontext
    return lambda: torch.autocast(torch.device(device).type, dtype=getattr(torch, precision))


def _seconds(step: Callable[[], None], device: str) -> float:
    """Seconds a step: on a CPU of a single one, whose warming up is nothing beside its length."""
    if device == "cpu":
        start = time.perf_counter()
        step()
        return time.perf_counter() - start
    times = []
    for _ in range(_WARM_UP + _STEPS):
        _wait(device)
        start = time.perf_counter()
        step()
        _wait(device)
        times.append(time.perf_counter() - start)
    return float(np.median(times[_WARM_UP:]))


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    else:
        torch.mps.synchronize()
