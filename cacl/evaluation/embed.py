"""One vector a video: ten clips, the last convolutional map max-pooled, the mean over the clips.

The retrieval feature of the paper (section 4.3): clips evenly spaced over the video, centre crop, the map of the last
convolution max-pooled over 2x2 pixels and flattened (512 * 2 * 3 * 3 = 9216 at 16x112x112), averaged over the clips.

Shapes: V videos, N clips, C channels, T frames, H W pixels, D features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.data.clips.augment import Standardise, centre_crop
from cacl.data.clips.sampling import evaluation_clips
from cacl.data.videos.catalog import Skipped, Video
from cacl.data.videos.store import FrameSource
from cacl.evaluation.reading import read_clips, shared_videos
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.encoder import Encoder, pool_map


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
        features: float32 ``[V, D]``, one row a video that was read, in the order asked for.
        kept: position of each row in the ``videos`` asked for, int64 ``[V]``.
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
    source: FrameSource,
    videos: Sequence[Video],
    *,
    frames: int = 16,
    stride: int = 2,
    size: int,
    clips: int = 10,
    layer: Literal["max", "mean"] = "max",
    batch_size: int = 40,
    device: torch.device | str = "cpu",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    standardise: Standardise = "none",
    autocast_dtype: torch.dtype | None = None,
    numbers: Sequence[int] | None = None,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> VideoFeatures:
    """Embed videos with a frozen network in eval mode (restored afterwards); a ``VideoError`` skips its video.

    Args:
        network: has ``forward_features``; already on ``device``.
        source: frames of ``videos``: video i is number ``numbers[i]`` of it, by default number i.
        frames: T, frames a clip, ``stride`` frames apart (nearer in a video too short for that).
        size: side of the centre crop in pixels, at most the source's height and width.
        clips: clips a video, evenly spaced.
        layer: see :func:`pool_map`.
        batch_size: clips in one forward pass.
        mean: of each channel, subtracted from pixels in [0, 1], which are then divided by ``std``.
        standardise: of each clip, see ``cacl.data.clips.augment.normalise_``.
        autocast_dtype: mixed precision of the forward pass; pooling and averaging are float32 always.
        threads: decoding threads, which read ahead.
        progress: called with the number of videos read.

    Raises:
        UserError: if ``size`` exceeds the frames, or no video could be read.
    """
    rows, kept, skipped = list[NDArray[np.float32]](), list[int](), list[Skipped]()

    def embed(clips_NTHWC: NDArray[np.uint8]) -> Tensor:
        x_NCTHW = centre_crop(
            torch.from_numpy(clips_NTHWC).to(device), size, mean=mean, std=std, standardise=standardise
        )
        with mixed_precision(device, autocast_dtype):
            map_NDTHW = network.forward_features(x_NCTHW)
        return pool_map(map_NDTHW, layer)

    with evaluating(network):
        for position, vectors_ND in clips_through(
            embed,
            source,
            videos,
            frames=frames,
            stride=stride,
            clips=clips,
            batch_size=batch_size,
            numbers=numbers,
            threads=threads,
            skipped=skipped,
            progress=progress,
        ):
            kept.append(position)
            rows.append(vectors_ND.mean(dim=0).cpu().numpy())
    return VideoFeatures(np.stack(rows), np.array(kept, np.int64), tuple(skipped))


@torch.no_grad()
def encoder_features(
    encoder: ClipEncoder,
    source: FrameSource,
    videos: Sequence[Video],
    *,
    clips: int,
    device: torch.device | str,
    autocast_dtype: torch.dtype | None = None,
    numbers: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
) -> VideoFeatures:
    """``video_features`` of the pixels and the layer that the encoder's description says; it is moved to ``device``.

    The source's frames are of the size that the encoder stretches frames to, or are stretched to it.
    """
    spec = encoder.clip
    if not isinstance(encoder, Encoder):
        skipped, found = list[Skipped](), list[tuple[int, Tensor]]()
        with evaluating(encoder.to(device)):
            found += clips_through(
                encoder,
                source,
                videos,
                frames=spec.frames,
                stride=spec.stride,
                clips=clips,
                skipped=skipped,
                numbers=numbers,
                progress=progress,
            )
        rows = np.stack([vectors_ND.mean(dim=0).numpy() for _, vectors_ND in found])
        return VideoFeatures(rows, np.array([position for position, _ in found], np.int64), tuple(skipped))
    return video_features(
        encoder.network.to(device),
        source,
        videos,
        frames=spec.frames,
        stride=spec.stride,
        size=spec.size,
        clips=clips,
        layer=spec.layer,
        device=device,
        mean=spec.pixel_mean,
        std=spec.pixel_std,
        standardise=spec.standardise,
        autocast_dtype=autocast_dtype,
        numbers=numbers,
        progress=progress,
    )


def clips_through(
    compute: Callable[[NDArray[np.uint8]], Tensor],
    source: FrameSource,
    videos: Sequence[Video],
    *,
    frames: int,
    stride: int,
    clips: int,
    skipped: list[Skipped],
    batch_size: int = 40,
    numbers: Sequence[int] | None = None,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Yield ``(position, compute(its clips))`` of each video that can be read; each is decoded once, by one process.

    Args:
        compute: uint8 ``[n, T, H, W, 3]``, clips of several videos, to a vector each, ``[n, D]``. What is yielded is on
            the CPU.
        skipped: takes the videos that cannot be read. The rest as of ``video_features``.

    Raises:
        UserError: no video could be read.
    """

    def read(own: FrameSource, number: int, position: int) -> NDArray[np.uint8]:
        plan_NT = evaluation_clips(videos[position].frames, frames=frames, stride=stride, clips=clips)
        return read_clips(own, number, plan_NT)

    def vectors(pixels: Iterator[NDArray[np.uint8]]) -> Iterator[Tensor]:
        for vectors_ND in in_batches(pixels, compute, batch_size):
            yield vectors_ND.cpu()

    yield from shared_videos(
        source,
        videos,
        read,
        vectors,
        group=batch_size // math.gcd(batch_size, clips),  # the fewest videos that fill batches
        skipped=skipped,
        numbers=numbers,
        threads=threads,
        progress=progress,
    )


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
