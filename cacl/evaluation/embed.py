"""One vector a video: ten clips, the last convolutional map max-pooled, the mean over the clips.

The retrieval feature of the paper (section 4.3): clips evenly spaced over the video, centre crop, the map of the last
convolution max-pooled over 2x2 pixels and flattened (512 * 2 * 3 * 3 = 9216 at 16x112x112), averaged over the clips.

Shapes: V videos, N clips, C channels, T frames, H W pixels, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.data.clips.sampling import evaluation_clips
from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.sources import FrameSource
from cacl.evaluation.reading import read_clips, shared_videos
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.encoder import ClipSpec, Encoder, pool_map


class Trainable(Protocol):
    """Anything with a training and an evaluation mode."""

    training: bool

    def train(self, mode: bool = True) -> object:
        """Switch between training and evaluation."""


class FeatureNetwork(Trainable, Protocol):
    """What is embedded with: any module that has the map of its last convolution."""

    def forward_features(self, x_BCTHW: Tensor) -> Tensor:
        """``[B, 3, T, H, W]`` -> ``[B, D, T', H', W']``."""


@dataclass(frozen=True)
class VideoFeatures:
    """Features of the videos that could be read, and the others with the reason.

    Attributes:
        features: float32 ``[V, D]``, one row a video that was read, in their order.
        kept: number of each row's video in the data set, int64 ``[V]``.
        skipped: the videos left out.
    """

    features: NDArray[np.float32]
    kept: NDArray[np.int64]
    skipped: tuple[Skipped, ...]

    def __post_init__(self) -> None:
        if self.features.ndim != 2 or len(self.features) != len(self.kept):
            raise ValueError(f"{self.features.shape} features for {len(self.kept)} videos")

    def __str__(self) -> str:
        return f"{len(self.kept)} videos x {self.features.shape[1]} features, {len(self.skipped)} skipped"


@torch.no_grad()
def video_features(
    network: FeatureNetwork,
    data: Dataset,
    clip: ClipSpec,
    *,
    clips: int = 10,
    batch_size: int = 40,
    device: torch.device | str = "cpu",
    autocast_dtype: torch.dtype | None = None,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> VideoFeatures:
    """Embed videos with a frozen network in eval mode (restored afterwards); a ``VideoError`` skips its video.

    Args:
        network: has ``forward_features``; already on ``device``.
        data: the videos, at ``clip.resize``.
        clip: what the network sees, and the layer that gives the feature.
        clips: clips a video, evenly spaced.
        batch_size: clips in one forward pass.
        autocast_dtype: mixed precision of the forward pass; pooling and averaging are float32 always.
        threads: decoding threads, which read ahead.
        progress: called with the number of videos read.

    Raises:
        UserError: if ``clip.size`` exceeds the frames, or no video could be read.
    """
    rows, kept, skipped = list[NDArray[np.float32]](), list[int](), list[Skipped]()

    def embed(clips_NTHWC: NDArray[np.uint8]) -> Tensor:
        x_NCTHW = clip.pixels(torch.from_numpy(clips_NTHWC).to(device))
        with mixed_precision(device, autocast_dtype):
            map_NDTHW = network.forward_features(x_NCTHW)
        return pool_map(map_NDTHW, clip.layer)

    with evaluating(network):
        for number, vectors_ND in clips_through(
            embed, data, clip, clips=clips, batch_size=batch_size, threads=threads, skipped=skipped, progress=progress
        ):
            kept.append(number)
            rows.append(vectors_ND.mean(dim=0).cpu().numpy())
    return VideoFeatures(np.stack(rows), np.array(kept, np.int64), tuple(skipped))


@torch.no_grad()
def encoder_features(
    encoder: ClipEncoder,
    data: Dataset,
    *,
    clips: int = 10,
    device: torch.device | str = "cpu",
    autocast_dtype: torch.dtype | None = None,
    progress: Callable[[int], None] | None = None,
) -> VideoFeatures:
    """``video_features`` of an encoder of any kind, as its description says; it is moved to ``device``.

    Args:
        encoder: a 3D CNN, a frozen image encoder, or both fused.
        data: the videos; frames of another size than ``encoder.clip.resize`` are stretched by those that are no CNN.
        autocast_dtype: of the 3D CNN; the others are computed in float32.
    """
    if isinstance(encoder, Encoder):
        return video_features(
            encoder.network.to(device),
            data,
            encoder.clip,
            clips=clips,
            device=device,
            autocast_dtype=autocast_dtype,
            progress=progress,
        )
    rows, kept, skipped = list[NDArray[np.float32]](), list[int](), list[Skipped]()
    with evaluating(encoder.to(device)):
        for number, vectors_ND in clips_through(
            encoder, data, encoder.clip, clips=clips, skipped=skipped, progress=progress
        ):
            kept.append(number)
            rows.append(vectors_ND.mean(dim=0).numpy())
    return VideoFeatures(np.stack(rows), np.array(kept, np.int64), tuple(skipped))


def clips_through(
    compute: Callable[[NDArray[np.uint8]], Tensor],
    data: Dataset,
    clip: ClipSpec,
    *,
    clips: int,
    skipped: list[Skipped],
    batch_size: int = 40,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield ``(number, compute(its clips))`` of each video that can be read; each is decoded once, by one process.

    Args:
        compute: uint8 ``[n, T, H, W, 3]``, clips of several videos, to a vector each, ``[n, D]``. What is yielded is on
            the CPU.
        skipped: takes the videos that cannot be read. The rest as of ``video_features``.

    Raises:
        UserError: no video could be read.
    """

    def read(own: FrameSource, number: int) -> NDArray[np.uint8]:
        frames = data.catalog.videos[number].frames
        plan_NT = evaluation_clips(frames, frames=clip.frames, stride=clip.stride, clips=clips, window=clip.window)
        return read_clips(own, number, plan_NT)

    def vectors(pixels: Iterator[NDArray[np.uint8]]) -> Iterator[Tensor]:
        for vectors_ND in in_batches(pixels, compute, batch_size):
            yield vectors_ND.cpu()

    group = batch_size // math.gcd(batch_size, clips)  # the fewest videos that fill batches
    yield from shared_videos(data, read, vectors, group=group, skipped=skipped, threads=threads, progress=progress)


def in_batches(
    videos: Iterator[NDArray[np.uint8]], embed: Callable[[NDArray[np.uint8]], Tensor], batch_size: int
) -> Iterator[Tensor]:
    """Vectors ``[N, D]`` of each video, computed ``batch_size`` clips at a time across video boundaries."""
    sizes: list[int] = []  # clips of the videos not yet handed out, oldest first
    pixels: list[NDArray[np.uint8]] = []  # their clips not yet embedded
    vectors: list[Tensor] = []  # their vectors so far
    for clips_NTHWC in videos:
        sizes.append(len(clips_NTHWC))
        pixels.append(clips_NTHWC)
        while sum(map(len, pixels)) >= batch_size:
            waiting = np.concatenate(pixels)
            vectors.append(embed(waiting[:batch_size]))
            pixels = [waiting[batch_size:]]
        done = sum(map(len, vectors))
        while sizes and sizes[0] <= done:
            together = torch.cat(vectors)
            yield together[: sizes[0]]
            vectors, done = [together[sizes[0] :]], done - sizes.pop(0)
    if any(map(len, pixels)):
        vectors.append(embed(np.concatenate(pixels)))
    if sizes:
        ends = np.cumsum(sizes).tolist()
        yield from torch.cat(vectors).tensor_split(ends[:-1])


@contextmanager
def evaluating(network: Trainable) -> Iterator[None]:
    """In eval mode here, in its own mode afterwards."""
    was_training = network.training
    network.train(False)
    try:
        yield
    finally:
        network.train(was_training)


def mixed_precision(device: torch.device | str, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Autocast to ``dtype``, or nothing where it is None."""
    return nullcontext() if dtype is None else torch.autocast(torch.device(device).type, dtype=dtype)
