"""From settings to networks, methods, clips, views and learning rates: one of the few places that reads settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from cacl.config import Augment, Optim, Settings
from cacl.data.augment import AUGMENT_DRAWS, augment, draw_augmentation
from cacl.data.loader import ClipBatch, ClipLoader, Failure
from cacl.data.randomness import uniform
from cacl.data.sources import FrameSource
from cacl.data.transfer import sent
from cacl.methods.batch import ViewBatch
from cacl.methods.cacl import CACL
from cacl.methods.classify import Classify
from cacl.methods.frame_moco import FrameMoCo
from cacl.models.cnn3d import CNN3D, build_cnn3d
from cacl.models.encoder import ClipSpec
from cacl.models.frame_encoder import ResNet, build_frame_encoder
from cacl.models.processes import rank, world
from cacl.models.transformer import VideoTransformer
from cacl.models.weights import agreed_normalisation, load_frame_weights
from cacl.training.auto import channels_last, samples_per_video
from cacl.training.optim import learning_rate


def initial_network(settings: Settings) -> CNN3D:
    """G with the run's own initial weights: a function of the seed."""
    torch.manual_seed(settings.run.seed)
    return build_cnn3d(settings.model.network, width=settings.model.width)


def clip_spec(settings: Settings) -> ClipSpec:
    """What a clip is to the encoder of this run."""
    return ClipSpec(
        frames=settings.data.frames,
        stride=settings.data.stride,
        resize=settings.data.resize,
        size=settings.augment.size,
        pixel_mean=settings.augment.mean,
        pixel_std=settings.augment.std,
        standardise=settings.model.standardise,
    )


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


def build_method(settings: Settings, *, network: CNN3D, frame_encoder: ResNet | None) -> CACL:
    """CACL or the ablation that the settings describe; ``queue_size`` is resolved by now."""
    model, method = settings.model, settings.method
    torch.manual_seed(settings.run.seed + 2)
    transformer = None
    if settings.uses_transformer:
        assert frame_encoder is not None
        transformer = VideoTransformer(
            frame_encoder.num_features,
            frames=settings.data.frames,
            clips=2 if method.twin else 1,
            width=model.token_width,
            depth=model.depth,
            heads=model.heads,
        )
    assert method.queue_size != "auto"
    return CACL(
        network,
        transformer,
        frame_encoder,
        frames=settings.data.frames,
        stride=settings.data.stride,
        start_window=settings.data.start_window,
        moments=settings.data.moments,
        twin=method.twin,
        one_pass=method.one_pass,
        standardise=model.standardise,
        pairs=method.pairs,
        loss=method.loss,
        degree_weight=method.degree_weight,
        degree_sampling=method.degree_sampling,
        temperature=method.temperature,
        momentum=method.momentum,
        momentum_schedule=method.momentum_schedule,
        queue_size=method.queue_size,
        key_order=method.key_order,
        mask_own_keys=method.mask_own_keys,
        batch_negatives=method.batch_negatives,
        tq_negatives=method.tq_negatives,
        symmetric=method.symmetric,
        two_way=method.two_way,
        projection=model.projection,
        degree_hidden=model.degree_hidden,
        degree_dropout=model.degree_dropout,
        degree_input=model.degree_input,
        batchnorm=method.batchnorm,
    )


def build_frame_moco(settings: Settings, frame_encoder: ResNet, *, queue_size: int) -> FrameMoCo:
    """MoCo on frames, as the settings describe it."""
    return FrameMoCo(
        frame_encoder,
        temperature=settings.frames.temperature,
        momentum=settings.frames.momentum,
        queue_size=queue_size,
        mask_own_keys=settings.method.mask_own_keys,
        batch_negatives=settings.method.batch_negatives,
        projection=settings.model.projection,
        standardise=settings.model.standardise != "none",
        batchnorm=settings.method.batchnorm,
    )


def training_loader(
    source: FrameSource,
    frames: Sequence[int],
    method: CACL | FrameMoCo | Classify,
    names: Sequence[str],
    *,
    seed: int,
    batch_size: int,
    workers: int,
    device: str,
    say: Callable[[str], None],
) -> ClipLoader:
    """The clips that ``method`` asks for, this process's share of each batch.

    Args:
        frames: of each video of ``source``.
        names: the video's path, for each of them.
        say: told once of every video that cannot be read.
    """
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
        batch_size=batch_size,
        workers=workers,
        samples_per_video=samples_per_video(len(frames), batch_size),
        rank=rank(),
        world=world(),
        pin_memory=device.startswith("cuda"),
        on_failure=note,
    )


def learning_rates(optim: Optim, *, steps_per_epoch: int, epochs: int, warmup_epochs: float) -> Callable[[int], float]:
    """The learning rate of each step, counted from 0; epochs and warm-up as they were worked out."""
    return partial(
        learning_rate,
        lr=optim.lr,
        schedule=optim.schedule,
        schedule_per=optim.schedule_per,
        milestones=optim.milestones,
        warmup_epochs=warmup_epochs,
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
    )


def views_maker(
    settings: Settings, *, method: CACL | FrameMoCo, video_of: torch.Tensor | None = None
) -> Callable[[ClipBatch], ViewBatch]:
    """How a batch becomes views: one independent draw a view and sample, a function of (seed, epoch, sample).

    Args:
        method: says how many views and numbers it wants.
        video_of: int64 on the device, for sources whose "videos" are frames: which video each belongs to.
    """
    a, purpose = settings.augment, "clip"
    if isinstance(method, FrameMoCo):
        a, purpose = a.model_copy(update={"crop": settings.frames.crop, "area": settings.frames.area}), "frame"
    run = settings.run
    return augmented_views(
        method, a, seed=run.seed, channels_last=channels_last(run, run.device), purpose=purpose, video_of=video_of
    )


def augmented_views(
    method: CACL | FrameMoCo | Classify,
    a: Augment,
    *,
    seed: int,
    channels_last: bool,
    purpose: str = "clip",
    video_of: torch.Tensor | None = None,
) -> Callable[[ClipBatch], ViewBatch]:
    """How a batch becomes views of augmentation ``a``; ``purpose`` keeps the draws of two trainings apart."""

    def make(batch: ClipBatch) -> ViewBatch:
        samples = batch.sample.numpy()
        _, moments, _, height, width, _ = batch.frames.shape
        views = []
        for view in range(method.views):
            draw = draw_augmentation(
                uniform(seed, f"{purpose} view {view}", batch.epoch, samples, AUGMENT_DRAWS),
                height=height,
                width=width,
                size=a.size,
                crop=a.crop,
                area=a.area,
                flip=a.flip,
                jitter=a.jitter,
                jitter_p=a.jitter_p,
                gray_p=a.gray_p,
                blur_sigma=a.blur_sigma,
                blur_p=a.blur_p,
            )
            frames_BTHWC = batch.frames[:, min(view, moments - 1)]
            x_BCTHW = augment(frames_BTHWC, draw, hue=a.hue, mean=a.mean, std=a.std)
            if channels_last:
                x_BCTHW = x_BCTHW.contiguous(memory_format=torch.channels_last_3d)
            views.append(x_BCTHW)
        numbers = uniform(seed, f"{purpose} method", batch.epoch, samples, method.uniforms)
        uniforms = sent(torch.from_numpy(numbers).float(), batch.frames.device)
        video = batch.video if video_of is None else video_of[batch.video]
        return ViewBatch(tuple(views), batch.targets, video, uniforms)

    return make
