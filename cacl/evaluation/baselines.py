"""What retrieval must beat: two descriptions of a video without learning, and a fair untrained network.

The colour histogram knows which colours a video has, the thumbnail where light and dark are; neither knows motion. The
untrained network is evaluated twice, with BatchNorm as initialised and with statistics of training clips, because the
second is what its layers were made to see.

Shapes: V videos, N clips, B batch, C channels, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.catalog import Skipped
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.sources import FrameSource
from cacl.evaluation.reading import shared_videos

FRAMES = 10
BINS = 8
THUMBNAIL = (8, 11)  # rows, columns


@dataclass(frozen=True)
class BaselineFeatures:
    """Both descriptions of the videos that could be read, and the others with the reason.

    Attributes:
        histogram: float32 ``[V, 512]``, rows of length 1.
        thumbnail: float32 ``[V, 264]``, rows of mean 0.
        kept: number of each row's video in the data set, int64 ``[V]``.
        skipped: the videos left out.
    """

    histogram: NDArray[np.float32]
    thumbnail: NDArray[np.float32]
    kept: NDArray[np.int64]
    skipped: tuple[Skipped, ...]


def colour_histogram(frames_THWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Square root of the share of pixels in each of 8x8x8 RGB cells, float32 ``[512]``, of length 1.

    Args:
        frames_THWC: RGB, ``[T, H, W, 3]``. Red counts slowest.
    """
    cell_PC = (frames_THWC // (256 // BINS)).reshape(-1, 3).astype(np.int64)
    cell_P = (cell_PC[:, 0] * BINS + cell_PC[:, 1]) * BINS + cell_PC[:, 2]
    share = np.bincount(cell_P, minlength=BINS**3) / len(cell_P)
    return np.sqrt(share).astype(np.float32)


def thumbnail(frames_THWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean frame shrunk to 8x11 pixels by area averaging, in [0, 1], less its own mean: float32 ``[264]``."""
    mean_HWC = frames_THWC.mean(axis=0) / 255
    down = _area_weights(mean_HWC.shape[0], THUMBNAIL[0])
    across = _area_weights(mean_HWC.shape[1], THUMBNAIL[1])
    small_P = np.einsum("ih,hwc,jw->ijc", down, mean_HWC, across, optimize=True).ravel()
    vector: NDArray[np.float32] = (small_P - small_P.mean()).astype(np.float32)
    return vector


def _area_weights(length: int, cells: int) -> NDArray[np.float64]:
    """How much of pixel j lies in cell i, divided by the cell's length: ``[cells, length]``, rows of sum 1."""
    edges = np.arange(cells + 1) * length / cells
    left = np.maximum(edges[:-1, None], np.arange(length)[None, :])
    right = np.minimum(edges[1:, None], np.arange(1, length + 1)[None, :])
    overlap: NDArray[np.float64] = np.clip(right - left, 0, None) * cells / length
    return overlap


def video_baselines(
    data: Dataset,
    *,
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> BaselineFeatures:
    """Colour histogram and thumbnail of every video, from ten frames evenly spaced from the first to the last.

    Args:
        data: what to describe, by its whole frames (no crop).
        threads: decoding threads.
        progress: called with the number of videos finished.

    Raises:
        UserError: if no video could be read.
    """

    def read(own: FrameSource, number: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        indices = np.round(np.linspace(0, data.catalog.videos[number].frames - 1, FRAMES)).astype(np.int64)
        frames_THWC = own.read(number, indices)
        return colour_histogram(frames_THWC), thumbnail(frames_THWC)

    histograms, thumbnails, kept = [], [], []
    skipped: list[Skipped] = []
    for position, (histogram, small) in shared_videos(
        data, read, iter, group=8, skipped=skipped, threads=threads, progress=progress
    ):
        histograms.append(histogram)
        thumbnails.append(small)
        kept.append(position)
    return BaselineFeatures(np.stack(histograms), np.stack(thumbnails), np.array(kept, np.int64), tuple(skipped))
