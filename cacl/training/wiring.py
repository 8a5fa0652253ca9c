"""From settings to networks and methods: one of the few places that reads settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from cacl.config import Augment, Settings
from cacl.data.clips.counts import duration_counts
from cacl.data.media.colours import PixelRules
from cacl.data.videos.catalog import Video
from cacl.machine.auto import channels_last
from cacl.methods.contract import Method
from cacl.models.cnn3d import CNN3D, build_cnn3d, channels_last_
from cacl.models.encoder import ClipSpec, Encoder
from cacl.models.frame_encoder import ResNet, build_frame_encoder
from cacl.models.weights import agreed_normalisation, load_frame_weights


def initial_network(settings: Settings) -> CNN3D:
    """G with the run's own initial weights: a function of the seed."""
    torch.manual_seed(settings.run.seed)
    return build_cnn3d(settings.model.network, width=settings.model.width)


def clip_spec(settings: Settings, rules: PixelRules) -> ClipSpec:
    """What a clip is to the encoder of this run; ``rules``: by which stored pixels became RGB."""
    return ClipSpec(
        frames=settings.data.frames,
        stride=settings.data.stride,
        resize=settings.data.resize,
        size=settings.augment.size,
        pixel_mean=settings.augment.mean,
        pixel_std=settings.augment.std,
        standardise=settings.model.standardise,
        colours=rules.colours,
        levels=rules.levels,
        blank=settings.data.blank,
        window=settings.data.window,
        frame_rate=settings.data.frame_rate,
    )


def run_encoder(settings: Settings, network: CNN3D, rules: PixelRules) -> Encoder:
    """A network of this run with the clips that it knows; the network itself goes to the CPU, in float32."""
    spec = clip_spec(settings, rules)
    return Encoder(settings.model.network, width=settings.model.width, clip=spec, network=network.float().cpu())


def clip_counts(clips_per_video: Literal["one", "duration"], videos: Sequence[Video]) -> list[float] | None:
    """How often each video is read in an epoch (``data.clips_per_video``); None for once each."""
    return None if clips_per_video == "one" else duration_counts([video.frames for video in videos]).tolist()


def batch_sizes(settings: Settings) -> dict[str, tuple[int, int]]:
    """Setting -> clips or frames of a step, over all processes, and in how many parts, of each training of a run."""
    optim, frames = settings.optim, settings.frames.optim
    sizes = {"optim.batch_size": (optim.batch_size, optim.accumulate)}
    if settings.wants_frame_encoder and settings.model.frame_weights is None:
        sizes["frames.optim.batch_size"] = (frames.batch_size, frames.accumulate)
    return sizes


def build_frames_network(settings: Settings, *, weights: Path | None) -> ResNet:
    """The frame encoder, with weights from a file where one is given, and the pixels that these expect."""
    mean, std = settings.model.frame_mean, settings.model.frame_std
    if weights is not None:
        given = None if mean is None or std is None else (mean, std)
        mean, std = agreed_normalisation(weights, given) or (None, None)
    torch.manual_seed(settings.run.seed + 1)
    model = build_frame_encoder(
        settings.model.frame_encoder, width=settings.model.frame_width, pixel_mean=mean, pixel_std=std
    )
    if weights is not None:
        load_frame_weights(weights, model)
    return model


def frame_augment(settings: Settings) -> Augment:
    """The augmentation of the frame encoder's training: that of clips, with crops of its own."""
    return settings.augment.model_copy(update={"crop": settings.frames.crop, "area": settings.frames.area})


def build_method(settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None = None, videos: int) -> Method:
    """The method that the settings describe, its own weights a function of the seed; no ``auto`` is left in them.

    Args:
        network: G with the run's initial weights.
        frame_encoder: trained, where the method stands on one; or what a frozen one said of the videos.
        videos: how many there are to train on.
    """
    torch.manual_seed(settings.run.seed + 2)
    method = settings.method.build(settings, network=network, frame_encoder=frame_encoder, videos=videos)
    method.curves = settings.method.curves(settings.data.frames)
    return method


def checked_networks(settings: Settings, device: str) -> list[tuple[nn.Module, Sequence[int]]]:
    """G and, where it is trained, the frame encoder, each with the shape of its batch: what precision is checked on."""
    size, frames = settings.augment.size, settings.data.frames
    network = initial_network(settings).to(device)
    if channels_last(settings.run, device):
        channels_last_(network)
    models: list[tuple[nn.Module, Sequence[int]]] = [(network, (settings.optim.batch_size, 3, frames, size, size))]
    if settings.wants_frame_encoder:
        frame_network = build_frames_network(settings, weights=None).to(device)
        models.append((frame_network, (settings.frames.optim.batch_size, 3, size, size)))
    return models
