"""One fine-tuning: an encoder and labelled videos in, a classifier out; to its end or to where it was stopped.

The loop, the checkpoints and the loader are those of ``pretrain``; only the method and the learning rates differ.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cacl.config import Augment
from cacl.data.clips.counts import balanced_counts
from cacl.data.videos.dataset import Dataset
from cacl.files import writing
from cacl.finetune_settings import FineTune
from cacl.machine.auto import channels_last, channels_last_auto, hold_out_auto, tf32_auto
from cacl.machine.device import device_auto
from cacl.machine.load import threads_auto, usable_processors
from cacl.machine.precision import choose_precision
from cacl.methods.classify import Classify
from cacl.models.classifier import Classifier
from cacl.models.cnn3d import channels_last_
from cacl.models.encoder import ClipSpec, Encoder
from cacl.training.loop import Stage
from cacl.training.stages import build_stage, prepare_method, train_stage, unreadable_videos
from cacl.training.stop import StopRequest
from cacl.training.wiring import clip_counts

STEPS = 400  # of a fine-tuning with epochs: auto


@dataclass(frozen=True)
class Part:
    """One training of a run: which videos, from which seed, kept where.

    Attributes:
        folder: of its checkpoints and metrics.
        numbers: its videos in the data set.
        labels: classes of each, 0 … K-1, one or more.
        seed: of everything random.
    """

    folder: Path
    numbers: tuple[int, ...]
    labels: tuple[tuple[int, ...], ...]
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
        window=spec.window,
        standardise=spec.standardise,
        norm=settings.model.norm,
        dropout=settings.model.dropout,
        late_lr=settings.optim.late_lr,
    )
    prepare_method(method, run)
    method.network.checkpointed = run.checkpoint_activations
    with writing(part.folder):
        part.folder.mkdir(parents=True, exist_ok=True)
    stage = finetune_stage(part, method, data, spec, settings, say=say)
    train_stage(stage, stop, compile=run.compile)
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
        several=method.several,
    )
    return classifier.eval(), unreadable_videos(stage)


def finetune_stage(
    part: Part,
    method: Classify,
    data: Dataset,
    spec: ClipSpec,
    settings: FineTune,
    *,
    say: Callable[[str], None] = lambda text: None,
) -> Stage:
    """Everything that the loop needs, from the settings."""
    optim, run, workers = settings.optim, settings.run, settings.data.workers
    assert workers != "auto"
    own = data.subset(part.numbers)
    counts = clip_counts(settings.data.clips_per_video, own.catalog.videos)
    if settings.data.balance:
        counts = balanced_counts(part.labels, np.array(counts or [1.0] * len(own))).tolist()
    return build_stage(
        "finetune",
        method,
        own.source,
        [video.frames for video in own.catalog.videos],
        [video.path for video in own.catalog.videos],
        augment=Augment(size=spec.size, mean=spec.pixel_mean, std=spec.pixel_std, **settings.augment.model_dump()),
        optim=optim,
        run=run,
        workers=workers,
        seed=part.seed,
        epochs=lambda loader: math.ceil(STEPS / loader.steps_per_epoch) if optim.epochs == "auto" else optim.epochs,
        warmup_epochs=lambda epochs: min(optim.warmup_epochs, epochs / 10),  # few labels: few, long epochs
        checkpoints=part.folder / "checkpoints",
        metrics=part.folder / "metrics.jsonl",
        say=say,
        counts=counts,
    )


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
        values["run.threads"] = threads_auto()
    if data.workers == "auto":
        cpus = len(usable_processors())
        values["data.workers"] = (max(1, min(4, cpus)), f"{cpus} processors")
    if data.hold_out == "auto":
        values["data.hold_out"] = hold_out_auto(videos)
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
