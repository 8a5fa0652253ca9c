"""Does the encoder know time, or does it only look? Linear probes of frozen features for what differs in time alone.

Shuffle degree, playback speed and arrow of time, each beside chance, plain frame differences and the untrained network:
a random 3D network predicts speeds quite well, and only what lies above it was learned.

Shapes: P samples, M classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from cacl.data.clips.shuffle import possible_degrees
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset, thinned
from cacl.errors import UserError
from cacl.evaluation.probes import fit_probe
from cacl.evaluation.temporal.clips import Task, TaskSamples, speeds_that_fit, temporal_samples
from cacl.models.clip_encoder import ClipSpec

FEWEST_VIDEOS = 5
DRAWS = 2  # clips a video and task


def probe_networks(
    networks: Mapping[str, nn.Module],
    data: Dataset,
    train: Sequence[int],
    test: Sequence[int],
    clip: ClipSpec,
    *,
    most: int,
    seed: int,
    skipped: list[Skipped],
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """``probe_time`` of networks on videos, with the playback speeds that these are long enough for.

    Args:
        networks: name -> ``[B, 3, T, H, W]`` to ``[B, D]``, in evaluation mode and on ``device``.
        data: the videos.
        train, test: numbers of those that probes are fitted on, and scored on.
        clip: what the networks see.
        most: videos of each side; of more, so many evenly spaced.
        seed: draws the clips.
        skipped: takes the videos that cannot be read.

    Raises:
        UserError: fewer than 5 training videos, or none that can be read.
    """
    sides: dict[Literal["train", "test"], list[int]] = {
        "train": thinned(train, most),
        "test": thinned(test, most),
    }
    lengths = [[video.frames for video in data.videos(numbers)] for numbers in sides.values()]
    speeds = min((speeds_that_fit(frames, clip=clip.frames) for frames in lengths), key=len)
    samples = {
        side: temporal_samples(
            networks,
            data.subset(numbers),
            clip,
            purpose=side,
            draws=DRAWS,
            seed=seed,
            speeds=speeds,
            skipped=skipped,
            device=device,
        )
        for side, numbers in sides.items()
    }
    return probe_time(samples["train"], samples["test"], frames=clip.frames, speeds=speeds)


def probe_time(
    train: Mapping[Task, TaskSamples], test: Mapping[Task, TaskSamples], *, frames: int, speeds: tuple[int, ...]
) -> dict[str, Any]:
    """Fit a probe a task and row on the training samples and score it on the test samples.

    Args:
        train: from :func:`cacl.evaluation.temporal.clips.temporal_samples`.
        test: likewise, the same rows.
        frames: frames a clip, which says how many shuffle degrees there are.
        speeds: the playback speeds.

    Returns:
        task -> ``{"chance": percent, "classes": …, "rows": {row: {"accuracy": percent, "standard error": percent,
        "penalty": …}}, "train videos": …, "test videos": …, "clips": …}``; shuffle degrees also ``"mean error"`` in
        degrees. The standard error is that of the mean over videos, whose clips are not independent. A task without
        samples on both sides is missing.

    Raises:
        UserError: fewer than 5 training videos.
    """
    results: dict[str, Any] = {}
    names: dict[Task, list[str]] = {
        "shuffle degree": [str(degree) for degree in possible_degrees(frames)],
        "playback speed": [f"{speed}x" for speed in speeds],
        "arrow of time": ["forwards", "backwards"],
    }
    for task, samples in train.items():
        if task in test and len(names[task]) > 1:
            results[task] = _task(samples, test[task], names[task], degrees=task == "shuffle degree")
    return results


def _task(train: TaskSamples, test: TaskSamples, names: list[str], *, degrees: bool) -> dict[str, Any]:
    videos = len(np.unique(train.video))
    if videos < FEWEST_VIDEOS:
        raise UserError(f"Temporal probes need {FEWEST_VIDEOS} training videos or more, found {videos}.")
    rows = {}
    for name, features in train.features.items():
        model = fit_probe(features, train.classes, train.video, classes=len(names))
        predicted = model.scores(test.features[name]).argmax(dim=1).numpy()
        right = (predicted == test.classes).astype(np.float64)
        of_video = np.array([right[test.video == video].mean() for video in np.unique(test.video)])
        error = of_video.std(ddof=1) / np.sqrt(len(of_video)) if len(of_video) > 1 else float("nan")
        rows[name] = {"accuracy": 100 * float(right.mean()), "standard error": 100 * float(error)}
        if degrees:
            away = np.abs(_degree(predicted) - _degree(test.classes))
            rows[name]["mean error"] = float(away.mean())
        rows[name]["penalty"] = model.penalty
    return {
        "chance": 100 / len(names),
        "classes": names,
        "rows": rows,
        "train videos": videos,
        "test videos": len(np.unique(test.video)),
        "clips": len(test.classes),
    }


def _degree(classes: np.ndarray[Any, np.dtype[np.int64]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return classes + (classes > 0)
