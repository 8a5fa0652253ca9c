"""The two trainings of a run, put together from its settings: MoCo on frames, then CACL."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from cacl.config import Optim
from cacl.data.clips.loader import ClipBatch, ClipLoader
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.frames import SampledFrames
from cacl.data.videos.sources import FrameSource
from cacl.distributed.batchnorm import global_batchnorm_
from cacl.distributed.processes import is_first, wait_for_first, world
from cacl.errors import counted
from cacl.machine.auto import channels_last, fetch_every, frame_auto_values
from cacl.machine.compiled import compiled, networks_of
from cacl.methods.batch import ViewBatch
from cacl.methods.cacl import CACL
from cacl.methods.frame_moco import FrameMoCo
from cacl.models.cnn3d import channels_last_
from cacl.models.encoder import Encoder
from cacl.models.frame_encoder import ResNet
from cacl.models.weights import save_frame_weights, trained_here
from cacl.run_folder import RunFolder
from cacl.training.finish import draw_first_batch
from cacl.training.loop import Stage, train
from cacl.training.optim import build_optimizer
from cacl.training.stop import StopRequest
from cacl.training.wiring import (
    build_frame_moco,
    build_frames_network,
    build_method,
    clip_spec,
    initial_network,
    learning_rates,
    training_loader,
    views_maker,
)


def frame_encoder_stage(
    run: RunFolder, data: Dataset, numbers: list[int], stop: StopRequest, *, profile: bool = False
) -> ResNet:
    """The frozen network below T: from a file (once, then the run has its own copy), or trained now."""
    settings = run.resolved.settings
    own = run.path / "frame_encoder"
    if (own / "config.json").exists():  # written last
        return build_frames_network(settings, weights=own)
    if settings.model.frame_weights is not None:
        network = build_frames_network(settings, weights=Path(settings.model.frame_weights))
        if is_first():
            save_frame_weights(own, network)
        if settings.model.standardise != "none" and not trained_here(settings.model.frame_weights):
            run.log(
                f"Warning: the frame encoder of {settings.model.frame_weights} will see pixels that "
                f"model.standardise={settings.model.standardise} standardises. If it was not trained on such, set "
                "model.standardise=none."
            )
        return network
    source = SampledFrames(
        data.source, numbers, [data.catalog.videos[i].frames for i in numbers], every=settings.frames.every
    )
    resolved = run.resolved.with_auto(frame_auto_values(settings, frames=len(source)))
    run.write("config.yaml", resolved.to_yaml())
    settings, optim = resolved.settings, resolved.settings.frames.optim
    assert optim.epochs != "auto"
    run.log(f"MoCo on {counted(len(source), 'frame')} for the frame encoder, {counted(optim.epochs, 'epoch')}.")
    assert settings.frames.queue_size != "auto"
    method = build_frame_moco(
        settings, build_frames_network(settings, weights=None), queue_size=settings.frames.queue_size
    ).to(settings.run.device)
    if settings.method.batchnorm == "global" and world() > 1:
        global_batchnorm_(method)
    names = [video.path for video in data.catalog.videos]
    of_frame = [names[i] for i in source.video.tolist()]
    loader = _loader(run, source, [1] * len(source), method, batch_size=optim.batch_size, names=of_frame)
    make_views = views_maker(settings, method=method, video_of=torch.from_numpy(source.video).to(settings.run.device))
    with _compiled(run, method):
        train(_stage(run, "frames", method, loader, make_views, names, optim, profile=profile), stop)
    if is_first():
        save_frame_weights(own, method.encoder)
    wait_for_first()
    return build_frames_network(settings, weights=own)


def video_stage(
    run: RunFolder,
    data: Dataset,
    numbers: list[int],
    frame_encoder: ResNet | None,
    stop: StopRequest,
    *,
    profile: bool = False,
) -> tuple[CACL, dict[str, str]]:
    """Train CACL (or the ablation that the settings describe) to its end; which videos failed in it, and why."""
    settings = run.resolved.settings
    network = initial_network(settings)
    if is_first() and not (run.path / "initial").exists():
        spec = clip_spec(settings)
        initial = Encoder(settings.model.network, width=settings.model.width, clip=spec, network=network)
        initial.save(run.path / "initial")
    method = build_method(settings, network=network, frame_encoder=frame_encoder).to(settings.run.device)
    if settings.method.batchnorm == "global" and world() > 1:
        global_batchnorm_(method)
    if channels_last(settings.run, settings.run.device):
        channels_last_(method)
    method.encoder.checkpointed = settings.run.checkpoint_activations
    frames = [data.catalog.videos[i].frames for i in numbers]
    names = [data.catalog.videos[i].path for i in numbers]
    loader = _loader(
        run, data.subset(numbers).source, frames, method, batch_size=settings.optim.batch_size, names=names
    )
    make_views = views_maker(settings, method=method)
    if is_first():
        draw_first_batch(run, loader, make_views, names)
    with _compiled(run, method):
        train(_stage(run, "train", method, loader, make_views, names, settings.optim, profile=profile), stop)
    return method, {names[failure.video]: failure.reason for failure in loader.failures}


def _compiled(run: RunFolder, method: CACL | FrameMoCo) -> AbstractContextManager[None]:
    return compiled(networks_of(method), say=run.log) if run.resolved.settings.run.compile else nullcontext()


def _loader(
    run: RunFolder,
    source: FrameSource,
    frames: list[int],
    method: CACL | FrameMoCo,
    *,
    batch_size: int,
    names: list[str],
) -> ClipLoader:
    settings = run.resolved.settings
    assert settings.data.workers != "auto"
    return training_loader(
        source,
        frames,
        method,
        names,
        seed=settings.run.seed,
        batch_size=batch_size,
        workers=settings.data.workers,
        device=settings.run.device,
        say=run.log,
    )


def _stage(
    run: RunFolder,
    name: str,
    method: CACL | FrameMoCo,
    loader: ClipLoader,
    make_views: Callable[[ClipBatch], ViewBatch],
    names: list[str],
    optim: Optim,
    *,
    profile: bool,
) -> Stage:
    settings = run.resolved.settings
    assert optim.epochs != "auto"
    epochs = optim.epochs
    precision = settings.run.precision
    rates = learning_rates(
        optim, steps_per_epoch=loader.steps_per_epoch, epochs=epochs, warmup_epochs=optim.warmup_epochs
    )
    return Stage(
        name=name,
        method=method,
        loader=loader,
        optimizer=build_optimizer(method, optimizer=optim.optimizer, lr=optim.lr, weight_decay=optim.weight_decay),
        make_views=make_views,
        video_names=names,
        learning_rate=rates,
        epochs=epochs,
        checkpoints=run.path / "checkpoints" / name,
        metrics=run.path / "metrics.jsonl",
        device=torch.device(settings.run.device),
        autocast=None if precision == "float32" else getattr(torch, precision),
        clip_gradient=optim.clip_gradient,
        log_every=settings.run.log_every,
        save_minutes=settings.run.save_minutes,
        accumulate=optim.accumulate,
        fetch_every=fetch_every(settings.run.device, settings.run.log_every),
        profile=run.path / "profile" if profile else None,
        say=run.log,
    )
