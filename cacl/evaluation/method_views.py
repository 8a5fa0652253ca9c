"""A whole method on clips of videos it was not trained on: views drawn as in training, embeddings, tokens of T.

What Table 3 and Figure 3 of the paper measure. ``CACL.forward`` gives means over a batch; here each clip's own
embeddings are kept.

Shapes: B clips of a batch, N moments, T frames, H W pixels, L tokens, D their width, E = 128 embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cacl.data.clips.augment import standard_frames
from cacl.data.clips.loader import ClipBatch
from cacl.data.clips.sampling import ClipPlan
from cacl.data.randomness import generator
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.sources import FrameSource
from cacl.errors import VideoError
from cacl.evaluation.reading import read_clips, read_videos
from cacl.methods.batch import ViewBatch
from cacl.methods.cacl import CACL
from cacl.methods.permute import permute_tokens
from cacl.models.transformer import VideoTransformer


def drawn_views(
    method: CACL,
    make_views: Callable[[ClipBatch], ViewBatch],
    data: Dataset,
    *,
    draws: int,
    seed: int,
    skipped: list[Skipped],
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    threads: int = 2,
) -> Iterator[ViewBatch]:
    """Clips of every video, planned and augmented as in training (paper section 3.2): batches for ``method``.

    Seed, number of the video and draw decide each clip, shuffle and augmentation, so that another ``batch_size`` or
    number of threads gives the same.

    Args:
        method: says which frames and which shuffle (``plan``).
        make_views: augmentation, from ``cacl.training.wiring.views_maker``.
        data: the videos.
        draws: clips a video.
        seed: 0 or more.
        skipped: takes the videos that cannot be read, or are shorter than the method's ``start_window``.

    Yields:
        Batches whose ``video`` is its number in ``data``.

    Raises:
        UserError: no video could be read.
    """

    def read(own: FrameSource, number: int) -> list[tuple[ClipPlan, Tensor, int]]:
        video = data.catalog.videos[number]
        if method.start_window is not None and video.frames < method.start_window:
            raise VideoError(video.path, f"{video.frames} frames, data.start_window is {method.start_window}")
        samples = []
        for draw in range(draws):
            plan = method.plan(video.frames, generator(seed, "analysis", number, draw))
            frames_NTHWC = torch.from_numpy(read_clips(own, number, plan.frames))
            samples.append((plan, frames_NTHWC, number * draws + draw))
        return samples

    waiting: list[tuple[ClipPlan, Tensor, int]] = []
    for _, samples in read_videos(data, read, skipped=skipped, threads=threads):
        waiting.extend(samples)
        while len(waiting) >= batch_size:
            yield make_views(_batch(waiting[:batch_size], draws, seed).to(device))
            del waiting[:batch_size]
    if waiting:
        yield make_views(_batch(waiting, draws, seed).to(device))


def _batch(samples: list[tuple[ClipPlan, Tensor, int]], draws: int, seed: int) -> ClipBatch:
    plans, frames, indices = zip(*samples, strict=True)
    targets = {name: torch.from_numpy(np.stack([plan.targets[name] for plan in plans])) for name in plans[0].targets}
    sample = torch.tensor(indices)
    return ClipBatch(torch.stack(frames), targets, sample // draws, sample, epoch=seed)  # views are drawn by epoch


@torch.no_grad()
def embeddings(method: CACL, batch: ViewBatch) -> dict[str, Tensor]:
    """Unit embeddings ``gq``, ``gk``, ``tq``, ``tk`` of a batch, ``[B, E]`` each, as far as the method has them.

    Args:
        method: in evaluation mode, with pairs; view q is ``batch.views[0]``, view k ``batch.views[1]``.
    """
    assert method.key is not None
    permutation_BT = batch.targets["permutation"] if method.twin else None
    query = method.query.features(batch.views[0], permutation_BT)
    key = method.key.features(batch.views[1], permutation_BT)
    found = {"gq": method.query.embed(query), "gk": method.key.embed(key[::-1] if method.swapped else key)}
    if method.transformer is not None:
        found["tq"] = F.normalize(method.transformer(tokens(method, method.transformer, batch, view=0)).float(), dim=1)
    if method.key_transformer is not None:
        tokens_BLD = tokens(method, method.key_transformer, batch, view=1)
        found["tk"] = F.normalize(method.key_transformer(tokens_BLD).float(), dim=1)
    return found


@torch.no_grad()
def tokens(method: CACL, transformer: VideoTransformer, batch: ViewBatch, *, view: int) -> Tensor:
    """What T sees of a view: tokens ``[B, L, D]`` of the clip, then (where the method has one) of its shuffled twin.

    In view k of the authors' code (``key_order="swapped"``) the twin comes first.
    """
    assert method.frame_encoder is not None
    x_BCTHW = batch.views[view]
    features_NF = method.frame_encoder(standard_frames(x_BCTHW, method.query.standardise != "none"))
    tokens_BTD = transformer.embed(features_NF.view(len(x_BCTHW), x_BCTHW.shape[2], -1))
    if not method.twin:
        return tokens_BTD
    parts = [tokens_BTD, permute_tokens(tokens_BTD, batch.targets["permutation"])]
    return torch.cat(parts[::-1] if method.swapped and view == 1 else parts, dim=1)
