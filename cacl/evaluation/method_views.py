"""Batches for a whole method of clips of videos it was not trained on: planned and augmented as in training.

What Table 3 and Figure 3 of the paper are measured on.

Shapes: B samples of a batch, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from cacl.data.clips.batch import ClipBatch
from cacl.data.clips.sampling import ClipPlan, TooShort
from cacl.data.randomness import generator
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.sources import FrameSource
from cacl.errors import VideoError
from cacl.evaluation.reading import read_clips, read_videos
from cacl.methods.contract import Method, MethodBatch


def drawn_views(
    method: Method,
    make_views: Callable[[ClipBatch], MethodBatch],
    data: Dataset,
    *,
    draws: int,
    seed: int,
    skipped: list[Skipped],
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    threads: int = 2,
) -> Iterator[MethodBatch]:
    """Clips of every video, planned and augmented as in training (paper section 3.2): batches for ``method``.

    Seed, number of the video and draw decide each clip, shuffle and augmentation, so that another ``batch_size`` or
    number of threads gives the same.

    Args:
        method: says which frames and which shuffle (``plan``).
        make_views: augmentation, from ``cacl.training.views``.
        data: the videos.
        draws: clips a video.
        seed: 0 or more.
        skipped: takes the videos that cannot be read, or are too short for the method.

    Yields:
        Batches whose ``video`` is its number in ``data``.

    Raises:
        UserError: no video could be read.
    """

    def read(own: FrameSource, number: int) -> list[tuple[ClipPlan, tuple[Tensor, ...], int]]:
        video, samples = data.catalog.videos[number], []
        for draw in range(draws):
            try:
                plan = method.plan(video.frames, generator(seed, "analysis", number, draw))
            except TooShort as error:
                raise VideoError(video.path, f"{video.frames} frames are too few: {error}") from error
            clips = tuple(torch.from_numpy(read_clips(own, number, clip)) for clip in plan.clips)
            samples.append((plan, clips, number * draws + draw))
        return samples

    waiting: list[tuple[ClipPlan, tuple[Tensor, ...], int]] = []
    for _, samples in read_videos(data, read, skipped=skipped, threads=threads):
        waiting.extend(samples)
        while len(waiting) >= batch_size:
            yield make_views(_batch(waiting[:batch_size], draws, seed).to(device))
            del waiting[:batch_size]
    if waiting:
        yield make_views(_batch(waiting, draws, seed).to(device))


def _batch(samples: list[tuple[ClipPlan, tuple[Tensor, ...], int]], draws: int, seed: int) -> ClipBatch:
    plans, read, indices = zip(*samples, strict=True)
    clips = tuple(torch.stack(own) for own in zip(*read, strict=True))
    targets = {name: torch.from_numpy(np.stack([plan.targets[name] for plan in plans])) for name in plans[0].targets}
    sample = torch.tensor(indices)
    return ClipBatch(clips, targets, sample // draws, sample, epoch=seed)  # views are drawn by epoch
