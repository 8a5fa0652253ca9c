"""One fine-tuning: an encoder and labelled videos in, a classifier out; to its end or to where it was stopped.

The loop, the checkpoints and the loader are those of ``pretrain``; only the method and the learning rates differ.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cacl.config import Augment
from cacl.data.clips.loader import ClipLoader
from cacl.data.videos.dataset import Dataset
from cacl.distributed.batchnorm import global_batchnorm_
from cacl.distributed.processes import world
from cacl.files import writing
from cacl.finetune_settings import FineTune
from cacl.machine.auto import channels_last, channels_last_auto, fetch_every, tf32_auto
from cacl.machine.compiled import compiled, networks_of
from cacl.machine.device import device_auto
from cacl.machine.precision import choose_precision
from cacl.methods.classify import Classify
from cacl.models.classifier import Classifier
from cacl.models.cnn3d import channels_last_
from cacl.models.encoder import ClipSpec, Encoder
from cacl.training.loop import Stage, train
from cacl.training.optim import build_optimizer
from cacl.training.stop import StopRequest
from cacl.training.wiring import augmented_views, learning_rates, training_loader

LATE = ("conv4", "conv5", "linear")  # released code: these names keep the small rate
STEPS = 400  # of a fine-tuning with epochs: auto


@dataclass(frozen=True)
class Part:
    """One training of a run: which videos, from which seed, kept where.

    Attributes:
        folder: of its checkpoints and metrics.
        numbers: its videos in the data set.
        labels: class of each, 0 … K-1.
        seed: of everything random.
    """

    folder: Path
    numbers: tuple[int, ...]
    labels: tuple[int, ...]
    seed: int


def train_classifier(
    part: Part,
    encoder: Encoder,
    classes: Sequence[str],
    data: Dataset,
    settings: FineTune,
    stop: StopRequest,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Classifier, dict[str, str]]:
    """Fine-tune a copy of ``encoder`` with a fresh linear layer, from the part's newest checkpoint where there is one.

    Args:
        part: what to train on.
        encoder: where to begin; left as it is.
        classes: names of the K classes.
        data: the videos, at ``encoder.clip.resize``.
        settings: without ``auto``, but for ``optim.epochs``.
        stop: ends the training after the step that is running.
        say: told of videos that fail.

    Returns:
        The classifier on the CPU in eval mode, and the videos that failed with the reason.

    Raises:
        UserError: the loss is not finite, or a checkpoint cannot be written.
        Stopped: SIGTERM or Ctrl-C; the same call goes on.
    """
    spec, run = encoder.clip, settings.run
    torch.manual_seed(part.seed)  # the linear layer
    method = Classify(
        copy.deepcopy(encoder.network),
        classes=len(classes),
        labels=part.labels,
        frames=spec.frames,
        stride=spec.stride,
        standardise=spec.standardise,
        norm=settings.model.norm,
        dropout=settings.model.dropout,
    ).to(run.device)
    if world() > 1:
        global_batchnorm_(method)
    if channels_last(run, run.device):
        channels_last_(method)
    method.network.checkpointed = run.checkpoint_activations
    videos = data.videos(list(part.numbers))
    names = [video.path for video in videos]
    assert settings.data.workers != "auto"
    loader = training_loader(
        data.subset(part.numbers).source,
        [video.frames for video in videos],
        method,
        names,
        seed=part.seed,
        batch_size=settings.optim.batch_size,
        workers=settings.data.workers,
        device=run.device,
        say=say,
    )
    with writing(part.folder):
        part.folder.mkdir(parents=True, exist_ok=True)
    with compiled(networks_of(method), say=say) if run.compile else nullcontext():
        train(finetune_stage(part, method, loader, spec, settings, names, say=say), stop)
    failed = {names[failure.video]: failure.reason for failure in loader.failures}
    tuned = Encoder(
        encoder.name,
        width=encoder.width,
        clip=replaced(spec, layer="mean"),  # what the linear layer stands on
        network=method.network.float().cpu(),
    )
    classifier = Classifier(
        tuned,
        classes,
        linear=method.folded(),
        clips=settings.test.clips,
        average=settings.test.average,
    )
    return classifier.eval(), failed


def finetune_stage(
    part: Part,
    method: Classify,
    loader: ClipLoader,
    spec: ClipSpec,
    settings: FineTune,
    names: Sequence[str],
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Stage:
    """Everything that the loop needs, from the settings."""
    optim, run = settings.optim, settings.run
    auto = math.ceil(STEPS / loader.steps_per_epoch)
    epochs = auto if optim.epochs == "auto" else optim.epochs
    rates = learning_rates(
        optim,
        steps_per_epoch=loader.steps_per_epoch,
        epochs=epochs,
        warmup_epochs=min(optim.warmup_epochs, epochs / 10),  # few labels: few, long epochs
    )
    augment = Augment(size=spec.size, mean=spec.pixel_mean, std=spec.pixel_std, **settings.augment.model_dump())
    return Stage(
        name="finetune",
        method=method,
        loader=loader,
        optimizer=finetune_optimizer(
            method, optimizer=optim.optimizer, lr=optim.lr, weight_decay=optim.weight_decay, late_lr=optim.late_lr
        ),
        make_views=augmented_views(method, augment, seed=part.seed, channels_last=channels_last(run, run.device)),
        video_names=names,
        learning_rate=rates,
        epochs=epochs,
        checkpoints=part.folder / "checkpoints",
        metrics=part.folder / "metrics.jsonl",
        device=torch.device(run.device),
        autocast=autocast_dtype(settings),
        clip_gradient=optim.clip_gradient,
        log_every=run.log_every,
        save_minutes=run.save_minutes,
        accumulate=optim.accumulate,
        fetch_every=fetch_every(run.device, run.log_every),
        say=say,
    )


def finetune_optimizer(
    method: nn.Module, *, optimizer: Any, lr: float, weight_decay: float, late_lr: float | None
) -> torch.optim.Optimizer:
    """``build_optimizer``, and with ``late_lr`` the released code's groups.

    Parameters with ``conv4``, ``conv5`` or ``linear`` in their name keep the constant rate ``late_lr``; all others
    follow the schedule, among them every BatchNorm of C3D, whose names (``bn4a``) carry no stage's ``conv``.
    """
    built = build_optimizer(method, optimizer=optimizer, lr=lr, weight_decay=weight_decay)
    if late_lr is None:
        return built
    late = {id(p) for name, p in method.named_parameters() if any(word in name for word in LATE)}
    for group in list(built.param_groups):
        own = [p for p in group["params"] if id(p) in late]
        group["params"] = [p for p in group["params"] if id(p) not in late]
        if own:
            built.add_param_group({**group, "params": own, "lr": late_lr, "constant_lr": late_lr})
    return built


def finetune_auto_values(settings: FineTune, encoder: Encoder, *, videos: int) -> dict[str, tuple[Any, str]]:
    """Every ``auto`` but ``optim.epochs``, which depends on the part: dotted key -> (value, reason).

    Args:
        videos: training videos of the first split.

    Raises:
        UserError: a 16-bit type was asked for by name in which this device computes wrongly.
    """
    values: dict[str, tuple[Any, str]] = {}
    device, data = settings.run.device, settings.data
    if device == "auto":
        values["run.device"] = device_auto()
        device = values["run.device"][0]
    if settings.run.tf32 == "auto":
        values["run.tf32"] = tf32_auto(device)
    if settings.run.channels_last == "auto":
        values["run.channels_last"] = channels_last_auto(device)
    if settings.run.threads == "auto":
        values["run.threads"] = (torch.get_num_threads(), "PyTorch's choice for this machine")
    if data.workers == "auto":
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        values["data.workers"] = (max(1, min(4, cpus)), f"{cpus} processors")
    if data.hold_out == "auto":
        count = 800 if videos >= 8000 else 400 if videos >= 3000 else videos // 10
        values["data.hold_out"] = (count, f"of {videos} (released code: 800 of UCF101's, 400 of HMDB51's)")
    if settings.run.precision != "float32":
        network = copy.deepcopy(encoder.network).to(device)
        if channels_last(settings.run, device):
            channels_last_(network)
        spec = encoder.clip
        shape = (settings.optim.batch_size, 3, spec.frames, spec.size, spec.size)
        choice = choose_precision(settings.run.precision, [(network, shape)], device=device)
        name = "float32" if choice.dtype is None else str(choice.dtype).removeprefix("torch.")
        if settings.run.precision == "auto":
            values["run.precision"] = (name, choice.why)
    return values


def autocast_dtype(settings: FineTune) -> torch.dtype | None:
    """Mixed precision as resolved, None for float32."""
    precision = settings.run.precision
    return None if precision == "float32" else getattr(torch, precision)
