"""Vectors of many whole videos: consecutive windows of each, in batches across videos, while others are being decoded.

What is in memory is a few dozen windows and the vectors of the video that is being finished, however long videos are.

Shapes: S segments of one video, n windows read at once, T frames, H W pixels, D features.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.data.videos.dataset import Dataset
from cacl.data.videos.sources import FrameSource
from cacl.errors import VideoError
from cacl.evaluation.embed import evaluating, in_batches, mixed_precision
from cacl.evaluation.reading import read_ahead, read_clips
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.segments import Segments, segment_windows

WINDOWS = 16  # read at once: neighbours share frames and what was decoded before them


@dataclass(frozen=True, eq=False)
class _Piece:
    """Some neighbouring windows of one video."""

    position: int
    frames: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


@torch.no_grad()
def video_vectors(
    encoder: ClipEncoder,
    data: Dataset,
    *,
    skipped: dict[int, str],
    step: int | None = None,
    batch_size: int = 40,
    autocast_dtype: torch.dtype | None = None,
    threads: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[tuple[int, Segments, str]]:
    """Yield ``(number, segments, problem)`` of each video that can be read, in order.

    The vectors are those of ``ClipEncoder.embed_video``, without seconds. The problem is why they end before the video
    does, or an empty string.

    Args:
        encoder: on its device; in eval mode meanwhile.
        data: the videos, at ``encoder.clip.resize``.
        skipped: takes number and reason of the videos of which not one window can be read. One that breaks is used
            up to its break.
        step: frames from one window to the next; ``None``: one window after the other.
        batch_size: windows in one forward pass.
        autocast_dtype: mixed precision of the forward pass.
        threads: decoding threads, which read ahead.
        progress: called with the number of videos finished.

    Raises:
        ValueError: ``step`` is below 1.
    """
    clip = encoder.clip
    order: deque[_Piece] = deque()  # what was handed to the network and has not come back
    problems: dict[int, str] = {}

    def pieces() -> Iterator[_Piece]:
        for position, video in enumerate(data.catalog.videos):
            windows = segment_windows(video.frames, frames=clip.frames, stride=clip.stride, step=step)
            for first in range(0, len(windows[0]), WINDOWS):
                yield _Piece(position, *(column[first : first + WINDOWS] for column in windows))

    def read(own: FrameSource, piece: _Piece) -> tuple[NDArray[np.uint8], str]:
        return _readable(own, piece.position, piece.frames)

    def pixels() -> Iterator[NDArray[np.uint8]]:
        for piece, found in read_ahead(data.source, pieces(), read, threads=threads):
            if piece.position in problems:
                continue  # behind the break
            clips_NTHWC, problem = (np.empty(0, np.uint8), found.reason) if isinstance(found, VideoError) else found
            if problem:
                problems[piece.position] = problem
            if count := len(clips_NTHWC):
                kept = _Piece(piece.position, piece.frames, piece.starts[:count], piece.stops[:count])
                order.append(kept)
                yield clips_NTHWC
            elif piece.starts[0] == 0:
                skipped[piece.position] = problem

    def compute(clips_NTHWC: NDArray[np.uint8]) -> Tensor:
        with mixed_precision(encoder.device, autocast_dtype):
            vectors_ND: Tensor = encoder(clips_NTHWC)
        return vectors_ND.float().cpu()

    with evaluating(encoder):
        done: list[tuple[_Piece, Tensor]] = []
        for vectors_ND in in_batches(pixels(), compute, batch_size):
            piece = order.popleft()
            if done and piece.position != done[0][0].position:
                yield _joined(done, data, problems)
                progress(piece.position)
                done = []
            done.append((piece, vectors_ND))
        if done:
            yield _joined(done, data, problems)
        progress(len(data))


def _readable(source: FrameSource, number: int, frames_NT: NDArray[np.int64]) -> tuple[NDArray[np.uint8], str]:
    """The windows up to the first that cannot be read, and why that one cannot."""
    try:
        return read_clips(source, number, frames_NT), ""
    except VideoError:
        good: list[NDArray[np.uint8]] = []
        for frames_T in frames_NT:
            try:
                good.append(read_clips(source, number, frames_T[None]))
            except VideoError as error:
                return (np.concatenate(good) if good else np.empty(0, np.uint8)), error.reason
        return np.concatenate(good), ""  # it went wrong once only


def _joined(done: list[tuple[_Piece, Tensor]], data: Dataset, problems: dict[int, str]) -> tuple[int, Segments, str]:
    number = done[0][0].position
    video = data.catalog.videos[number]
    start_S = np.concatenate([piece.starts for piece, _ in done])
    length_S = np.concatenate([piece.stops for piece, _ in done]) - start_S
    unknown_S, paths = np.full(len(start_S), np.nan), [video.path] * len(start_S)
    vectors_SD = torch.cat([vectors_ND for _, vectors_ND in done]).numpy()
    segments = Segments(paths, unknown_S, unknown_S, video.first_frame + start_S, length_S, vectors_SD)
    return number, segments, problems.get(number, "")
