"""How long a step of a training takes on this device, measured on random clips in the shapes of its settings.

The step is the loop's: augmentation, loss, gradients, optimiser, momentum copies and queue; reading videos is no part
of it. On a GPU the whole batch is measured, or the largest half of it, quarter … that its memory holds; on a CPU a few
clips, scaled to the batch.

Shapes: B batch, T frames, H W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from cacl.config import Augment, Optim, Settings
from cacl.data.clips.batch import ClipBatch
from cacl.finetune_settings import FineTune
from cacl.machine.auto import channels_last
from cacl.machine.device_errors import out_of_memory
from cacl.methods.classify import Classify
from cacl.methods.contract import Method
from cacl.models.image.frozen_frames import FrozenFrames
from cacl.training.stages import build_step, prepare_method
from cacl.training.views import augmented_views
from cacl.training.wiring import build_frames_network, build_method, frame_augment, initial_network

CPU_CLIPS = 2  # the fewest that BatchNorm can average over
CPU_FRAMES = 16
FROZEN_FEATURES = 1280  # of a frozen image encoder
_WARM_UP, _STEPS = 2, 3  # on a GPU
_VIDEO_FRAMES = 200


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step of the whole batch, and with how many clips at once they were measured."""

    seconds: float
    clips: int


def pretrain_step(settings: Settings, device: str, *, few: int = CPU_CLIPS) -> StepTime:
    """Of the method that the settings describe; no ``auto`` is left in its own. ``few``: clips on a CPU."""
    network, frames = initial_network(settings), stand_in_frames(settings)
    method = build_method(settings, network=network, frame_encoder=frames, videos=settings.optim.batch_size)
    return _measured(method, settings.augment, settings.optim, settings, device, few=few)


def stand_in_frames(settings: Settings) -> nn.Module | None:
    """What the method stands on beside its 3D CNN, if anything, with random numbers in it."""
    if settings.wants_frame_encoder:
        return build_frames_network(settings, weights=None)
    if moments := settings.method.frozen_moments:
        return FrozenFrames(torch.randn(settings.optim.batch_size, moments, FROZEN_FEATURES))
    return None


def frames_step(settings: Settings, device: str, *, few: int = CPU_FRAMES) -> StepTime:
    """Of MoCo on frames. ``few``: frames on a CPU."""
    method = settings.method.build_frames(settings, frame_encoder=build_frames_network(settings, weights=None))
    return _measured(method, frame_augment(settings), settings.frames.optim, settings, device, few=few)


def finetune_step(settings: Settings, finetuning: FineTune, device: str, *, classes: int = 101) -> StepTime:
    """Of fine-tuning the network of a pretraining's settings."""
    method = Classify(
        initial_network(settings),
        classes=classes,
        labels=[[0]] * finetuning.optim.batch_size,
        frames=settings.data.frames,
        stride=settings.data.stride,
        standardise=settings.model.standardise,
        norm=finetuning.model.norm,
        dropout=finetuning.model.dropout,
    )
    own = settings.augment
    augment = Augment(size=own.size, mean=own.mean, std=own.std, **finetuning.augment.model_dump())
    return _measured(method, augment, finetuning.optim, settings, device)


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
    method: Method, augment: Augment, optim: Optim, settings: Settings, device: str, *, few: int = CPU_CLIPS
) -> StepTime:
    """The time of a whole batch, from as many samples as fit; on a CPU from a ``few``."""
    precision = "float32" if settings.run.precision == "auto" else settings.run.precision
    run = settings.run.model_copy(
        update={"device": device, "precision": precision, "channels_last": channels_last(settings.run, device)}
    )
    method = prepare_method(method, run).train()
    whole = optim.model_copy(update={"accumulate": 1, "lr": 1e-4, "weight_decay": 0.0})
    views = augmented_views(method, augment, seed=0, channels_last=bool(run.channels_last))
    step = build_step(method, views, whole, run)
    batch = optim.batch_size
    clips = min(batch, few) if device == "cpu" else batch
    while True:
        raw = random_batch(method, clips, settings.data.resize)
        try:
            seconds = _seconds(partial(step, raw, progress=1.0), device)
        except RuntimeError as error:
            if clips < 2 * CPU_CLIPS or not out_of_memory(error):
                raise
        else:
            return StepTime(seconds * batch / clips, clips)
        clips //= 2
        torch.cuda.empty_cache()  # here, behind the handler, nothing of the step that failed is held any more


def random_batch(method: Method, clips: int, resize: tuple[int, int]) -> ClipBatch:
    """Noise in the shapes that the method asks for."""
    rng = np.random.default_rng(0)
    plans = [method.plan(_VIDEO_FRAMES, rng) for _ in range(clips)]
    pixels = tuple(
        torch.from_numpy(rng.integers(0, 256, (clips, len(clip), *resize, 3), dtype=np.uint8))
        for clip in plans[0].clips
    )
    targets = {name: torch.from_numpy(np.stack([plan.targets[name] for plan in plans])) for name in plans[0].targets}
    order = torch.arange(clips)
    return ClipBatch(pixels, targets, order, order, epoch=0)


def _autocast(settings: Settings, device: str) -> Callable[[], Any]:
    precision = settings.run.precision
    if precision in ("float32", "auto"):
        return nullcontext
    return lambda: torch.autocast(torch.device(device).type, dtype=getattr(torch, precision))


def _seconds(step: Callable[[], object], device: str) -> float:
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
