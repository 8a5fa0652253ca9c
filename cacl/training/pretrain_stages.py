"""The trainings of a run, from its settings: the frame encoder where the method stands on one, then the method."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from cacl.config import Settings
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.frames import SampledFrames
from cacl.distributed.processes import is_first, wait_for_first
from cacl.errors import counted
from cacl.evaluation.choice.fuse import open_image_encoder, resized
from cacl.evaluation.embed import clips_through, evaluating
from cacl.files import write_whole
from cacl.machine.auto import frame_auto_values
from cacl.methods.contract import Method
from cacl.models.frame_encoder import ResNet
from cacl.models.image.frozen_frames import TABLE, FrozenFrames, load_frozen_frames
from cacl.models.weights import save_frame_weights, trained_here
from cacl.run_folder import RunFolder
from cacl.training.first_batch import draw_first_batch
from cacl.training.progress import VideoProgress
from cacl.training.stages import build_stage, prepare_method, train_stage, unreadable_videos
from cacl.training.stop import StopRequest
from cacl.training.wiring import (
    build_frames_network,
    build_method,
    clip_counts,
    frame_augment,
    initial_network,
    run_encoder,
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
    epochs, workers = optim.epochs, settings.data.workers
    assert epochs != "auto"
    assert workers != "auto"
    run.log(f"MoCo on {counted(len(source), 'frame')} for the frame encoder, {counted(epochs, 'epoch')}.")
    network = build_frames_network(settings, weights=None)
    method = settings.method.build_frames(settings, frame_encoder=network)
    as_built = settings.run.model_copy(update={"channels_last": False})  # 2D convolutions keep their layout
    prepare_method(method, as_built, own_batchnorm=settings.method.own_batchnorm)
    names = [video.path for video in data.catalog.videos]
    stage = build_stage(
        "frames",
        method,
        source,
        [1] * len(source),
        [names[i] for i in source.video.tolist()],
        augment=frame_augment(settings),
        optim=optim,
        run=settings.run,
        workers=workers,
        seed=settings.run.seed,
        epochs=lambda loader: epochs,
        group="frames.optim",
        purpose="frame",
        video_of=torch.from_numpy(source.video).to(settings.run.device),
        video_names=names,
        checkpoints=run.path / "checkpoints" / "frames",
        metrics=run.path / "metrics.jsonl",
        profile=run.path / "profile" if profile else None,
        say=run.log,
    )
    train_stage(stage, stop, compile=settings.run.compile)
    if is_first():
        save_frame_weights(own, network)
    wait_for_first()
    return build_frames_network(settings, weights=own)


def frozen_stage(run: RunFolder, data: Dataset, numbers: list[int], stop: StopRequest) -> FrozenFrames:
    """The table of a run, made once and kept in its folder; every process calls this.

    Args:
        run: with the image encoder's folder in its request (``--with-frozen``).
        data: its videos.
        numbers: those that it trains on, in the order in which the training numbers them.
        stop: ends it; it is made anew then.
    """
    settings, file = run.resolved.settings, run.path / TABLE
    if not file.exists():
        image = open_image_encoder(run.data["frozen"]).to(settings.run.device)
        span = (settings.data.frames - 1) * settings.data.stride  # of a clip, whose middle is looked at
        clip = replace(image.clip, frames=3, stride=max(1, span // 2), blank=settings.data.blank)
        clip = replace(clip, colours=data.rules.colours, levels=data.rules.levels, frame_rate=settings.data.frame_rate)
        found, skipped = dict[int, Tensor](), list[Skipped]()
        with VideoProgress(stop) as progress, evaluating(image):

            @torch.no_grad()
            def look(frames_NTHWC: NDArray[np.uint8]) -> Tensor:
                middle: Tensor = image(frames_NTHWC[:, 1:2])
                return middle.float()

            moments = settings.method.frozen_moments
            part = resized(data, clip).subset(numbers)
            watch = progress.of("videos looked at")
            for number, vectors_LF in clips_through(
                look, part, clip, clips=moments, skipped=skipped, progress=lambda n: watch(n, len(numbers))
            ):
                found[number] = vectors_LF
        mean_LF = torch.stack(list(found.values())).mean(dim=0)  # in place of a video that cannot be read
        table_VLF = torch.stack([found.get(number, mean_LF) for number in range(len(numbers))])
        if is_first():
            told = {"source": json.dumps(image.origin.source)}
            write_whole(file, save({"features": table_VLF.half().contiguous()}, told))
        wait_for_first()
    return load_frozen_frames(run.path)


def video_stage(
    run: RunFolder,
    data: Dataset,
    numbers: Sequence[int],
    frame_encoder: nn.Module | None,
    stop: StopRequest,
    *,
    profile: bool = False,
) -> tuple[Method, dict[str, str]]:
    """Train the run's method to its end; which videos failed in it, and why."""
    settings = run.resolved.settings
    epochs, workers = settings.optim.epochs, settings.data.workers
    assert epochs != "auto"
    assert workers != "auto"
    network = initial_network(settings)
    if is_first() and not (run.path / "initial").exists():
        run_encoder(settings, network, data.rules).save(run.path / "initial")
    method = build_method(settings, network=network, frame_encoder=frame_encoder, videos=len(numbers))
    method = prepare_method(method, settings.run, own_batchnorm=settings.method.own_batchnorm)
    network.checkpointed = settings.run.checkpoint_activations
    part = data.subset(numbers)
    stage = build_stage(
        "train",
        method,
        part.source,
        [video.frames for video in part.catalog.videos],
        [video.path for video in part.catalog.videos],
        augment=settings.augment,
        optim=settings.optim,
        run=settings.run,
        workers=workers,
        seed=settings.run.seed,
        epochs=lambda loader: epochs,
        checkpoints=run.path / "checkpoints" / "train",
        metrics=run.path / "metrics.jsonl",
        profile=run.path / "profile" if profile else None,
        say=run.log,
        counts=clip_counts(settings.data.clips_per_video, part.catalog.videos),
    )
    if is_first():
        draw_first_batch(run, stage)
    count = int(run.data.get("snapshots", 0))
    stage = replace(
        stage,
        keep_at={round(stage.steps * part / (count + 1)) for part in range(1, count + 1)} - {0},
        keep=lambda step: _snapshot(run, settings, data, method, step),
    )
    train_stage(stage, stop, compile=settings.run.compile)
    return method, unreadable_videos(stage)


def _snapshot(run: RunFolder, settings: Settings, data: Dataset, method: Method, step: int) -> None:
    """The encoder as it is now; after a kill the same step comes again, and writes the same."""
    place = run.path / "snapshots" / f"step-{step:08d}"
    if not place.exists():
        run_encoder(settings, copy.deepcopy(method.encoder), data.rules).save(place)
