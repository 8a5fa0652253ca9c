"""A training put together: any method with the clips it asks for, its views, optimiser and schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from cacl.config import Augment, Optim, Run
from cacl.data.clips.loader import ClipLoader, Failure
from cacl.data.videos.sources import FrameSource
from cacl.distributed.batchnorm import global_batchnorm_
from cacl.distributed.processes import rank, world
from cacl.machine.auto import channels_last, fetch_every, samples_per_video
from cacl.machine.compiled import compiled
from cacl.methods.contract import Method
from cacl.models.cnn3d import channels_last_
from cacl.training.loop import Stage, train
from cacl.training.optim import build_optimizer, learning_rate
from cacl.training.step import Step
from cacl.training.stop import StopRequest
from cacl.training.views import MakeViews, augmented_views


def prepare_method(method: Method, run: Run, *, own_batchnorm: bool = False) -> Method:
    """The method on the run's device, its weights laid out and its BatchNorm shared as the run wants it."""
    method = method.to(run.device)
    if world() > 1 and not own_batchnorm:
        global_batchnorm_(method)
    if channels_last(run, run.device):
        channels_last_(method)
    return method


def build_step(method: Method, make_views: MakeViews, optim: Optim, run: Run) -> Step:
    """What every step of the training does alike; no ``auto`` is left in the settings."""
    device = torch.device(run.device)
    autocast = None if run.precision == "float32" else getattr(torch, run.precision)
    return Step(
        method,
        build_optimizer(method, optimizer=optim.optimizer, lr=optim.lr, weight_decay=optim.weight_decay),
        make_views,
        device,
        autocast=autocast,
        scaler=torch.amp.GradScaler(device.type) if autocast == torch.float16 else None,
        clip_gradient=optim.clip_gradient,
        accumulate=optim.accumulate,
    )


def build_stage(
    name: str,
    method: Method,
    source: FrameSource,
    frames: Sequence[int],
    names: Sequence[str],
    *,
    augment: Augment,
    optim: Optim,
    run: Run,
    workers: int,
    seed: int,
    epochs: Callable[[ClipLoader], int],
    checkpoints: Path,
    metrics: Path,
    say: Callable[[str], None],
    warmup_epochs: Callable[[int], float] | None = None,
    group: str = "optim",
    purpose: str = "clip",
    video_of: Tensor | None = None,
    video_names: Sequence[str] | None = None,
    profile: Path | None = None,
    counts: Sequence[float] | None = None,
) -> Stage:
    """Everything that the loop needs; no ``auto`` is left in the settings.

    Args:
        method: prepared (:func:`prepare_method`).
        source: where its clips come from.
        frames: of each video of ``source``.
        names: the video's path, for each of them.
        epochs: of the training, from its loader.
        warmup_epochs: from the epochs; by default ``optim.warmup_epochs``.
        group: the settings' name of ``optim``, for messages.
        purpose: keeps the draws of two trainings apart.
        video_of: for sources whose "videos" are frames: which video each belongs to, int64 on the device.
        video_names: of these videos; by default ``names``.
        counts: how often each video is read in an epoch; once each where None.
    """
    loader = _loader(source, frames, names, method, optim, run, workers=workers, seed=seed, say=say, counts=counts)
    views = augmented_views(
        method, augment, seed=seed, channels_last=channels_last(run, run.device), purpose=purpose, video_of=video_of
    )
    count = epochs(loader)
    rates = partial(
        learning_rate,
        lr=optim.lr,
        schedule=optim.schedule,
        schedule_per=optim.schedule_per,
        milestones=optim.milestones,
        milestone_factor=optim.milestone_factor,
        warmup_epochs=optim.warmup_epochs if warmup_epochs is None else warmup_epochs(count),
        steps_per_epoch=loader.steps_per_epoch,
        epochs=count,
        first_epoch=optim.first_epoch,
    )
    return Stage(
        name=name,
        step=build_step(method, views, optim, run),
        loader=loader,
        video_names=names if video_names is None else video_names,
        learning_rate=rates,
        epochs=count,
        checkpoints=checkpoints,
        metrics=metrics,
        log_every=run.log_every,
        save_minutes=run.save_minutes,
        optim=group,
        fetch_every=fetch_every(run.device, run.log_every),
        tensorboard=run.tensorboard,
        profile=profile,
        say=say,
    )


def train_stage(stage: Stage, stop: StopRequest, *, compile: bool) -> None:
    """Train it to its end, from its newest checkpoint."""
    networks = stage.step.method.networks()
    with compiled(networks, say=stage.say) if compile else nullcontext():
        train(stage, stop)


def unreadable_videos(stage: Stage) -> dict[str, str]:
    """What failed in a stage that reads whole videos: path -> reason."""
    return {stage.video_names[failure.video]: failure.reason for failure in stage.loader.failures}


def _loader(
    source: FrameSource,
    frames: Sequence[int],
    names: Sequence[str],
    method: Method,
    optim: Optim,
    run: Run,
    *,
    workers: int,
    seed: int,
    say: Callable[[str], None],
    counts: Sequence[float] | None,
) -> ClipLoader:
    """The clips that ``method`` asks for, this process's share of each batch."""
    told = set[str]()

    def note(failure: Failure) -> None:
        if (name := names[failure.video]) not in told:
            told.add(name)
            say(f"{name} could not be read: {failure.reason}. Left out from the next epoch on.")

    return ClipLoader(
        source,
        frames,
        method.plan,
        seed=seed,
        batch_size=optim.batch_size,
        workers=workers,
        samples_per_video=samples_per_video(len(frames) if counts is None else round(sum(counts)), optim.batch_size),
        counts=counts,
        rank=rank(),
        world=world(),
        pin_memory=run.device.startswith("cuda"),
        on_failure=note,
    )
