"""Vectors of many whole videos: consecutive windows of each, some at a time, while others are being decoded.

What is in memory is a few dozen windows and the vectors of the video that is being finished, however long videos are.
Windows of two videos are never computed together: a network's rounding may differ with the number of windows, and so a
video's vectors are the same to the bit whatever other videos there are, and in which order.

Shapes: S segments of one video, n windows read at once, T frames, H W pixels, D features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.data.media.isolated import isolated, time_limit
from cacl.data.media.open_files import frame_seconds
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.resampled import ResampledFrames, as_files
from cacl.data.videos.sources import FrameSource, FrameStore
from cacl.errors import UserError, VideoError
from cacl.evaluation.embed import evaluating, mixed_precision
from cacl.evaluation.reading import read_ahead, read_clips
from cacl.machine.precision import PrecisionName, choose_precision
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.encoder import Encoder
from cacl.models.segments import Segments, even_seconds, segment_windows

WINDOWS = 16  # read and computed at once: neighbours share frames and what was decoded before them
_LEAST = 2  # computed at once: one alone takes thrice the time of one of several on a processor
Look = Callable[[int, NDArray[np.uint8]], list[bytes]]


@dataclass(frozen=True, eq=False)
class VideoVectors:
    """What was made of one video.

    Attributes:
        number: of the video.
        segments: its stretches with their vectors, without seconds.
        problem: why they end before the video does, or an empty string.
        looks: what ``look`` gave for each, or nothing.
    """

    number: int
    segments: Segments
    problem: str
    looks: tuple[bytes, ...] = ()


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
    autocast_dtype: torch.dtype | None = None,
    threads: int = 2,
    look: Look | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Iterator[VideoVectors]:
    """What is made of each video that can be read, in order; the vectors are those of ``ClipEncoder.embed_video``.

    Args:
        encoder: on its device; in eval mode meanwhile.
        data: the videos, at ``encoder.clip.resize``.
        skipped: takes number and reason of the videos of which not one window can be read. One that breaks is used
            up to its break.
        step: frames from one window to the next; ``None``: one window after the other.
        autocast_dtype: mixed precision of the forward pass.
        threads: decoding threads, which read ahead.
        look: called in these threads with the number of a video and the frames of some of its windows, uint8
            ``[n, T, H, W, 3]``; gives something for each of the n.
        progress: called with the number of videos finished.

    Raises:
        ValueError: ``step`` is below 1.
    """
    clip = encoder.clip
    problems: dict[int, str] = {}

    def pieces() -> Iterator[_Piece]:
        for position, video in enumerate(data.catalog.videos):
            windows = segment_windows(video.frames, frames=clip.frames, stride=clip.stride, step=step)
            for first in range(0, len(windows[0]), WINDOWS):
                yield _Piece(position, *(column[first : first + WINDOWS] for column in windows))

    def read(own: FrameSource, piece: _Piece) -> tuple[NDArray[np.uint8], str, list[bytes]]:
        clips_NTHWC, problem = _readable(own, piece.position, piece.frames)
        return clips_NTHWC, problem, look(piece.position, clips_NTHWC) if look and len(clips_NTHWC) else []

    def compute(clips_NTHWC: NDArray[np.uint8]) -> Tensor:
        count = len(clips_NTHWC)
        if count < _LEAST:
            clips_NTHWC = np.concatenate([clips_NTHWC] * _LEAST)
        with mixed_precision(encoder.device, autocast_dtype):
            vectors_ND: Tensor = encoder(clips_NTHWC)
        return vectors_ND[:count].float().cpu()

    with evaluating(encoder):
        done: list[_Computed] = []
        for piece, found in read_ahead(data.source, pieces(), read, threads=threads):
            if done and piece.position != done[0].piece.position:
                yield _joined(done, data, problems)
                progress(piece.position)
                done = []
            if piece.position in problems:
                continue  # behind the break
            clips, problem, looks = (
                (np.empty(0, np.uint8), found.reason, []) if isinstance(found, VideoError) else found
            )
            if problem:
                problems[piece.position] = problem
            if count := len(clips):
                kept = _Piece(piece.position, piece.frames, piece.starts[:count], piece.stops[:count])
                done.append(_Computed(kept, compute(clips), looks))
            elif piece.starts[0] == 0:
                skipped[piece.position] = problem
        if done:
            yield _joined(done, data, problems)
        progress(len(data))


@dataclass(frozen=True, eq=False)
class _Computed:
    piece: _Piece
    vectors: Tensor
    looks: list[bytes]


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


def _joined(done: list[_Computed], data: Dataset, problems: dict[int, str]) -> VideoVectors:
    number = done[0].piece.position
    video = data.catalog.videos[number]
    start_S = np.concatenate([one.piece.starts for one in done])
    length_S = np.concatenate([one.piece.stops for one in done]) - start_S
    unknown_S, paths = np.full(len(start_S), np.nan), [video.path] * len(start_S)
    vectors_SD = torch.cat([one.vectors for one in done]).numpy()
    segments = Segments(paths, unknown_S, unknown_S, video.first_frame + start_S, length_S, vectors_SD)
    looks = tuple(look for one in done for look in one.looks)
    return VideoVectors(number, segments, problems.get(number, ""), looks)


def embedding_precision(precision: PrecisionName, encoder: ClipEncoder, device: str) -> tuple[torch.dtype | None, str]:
    """What to compute in, ``None`` for float32, and why. Raises UserError: frozen image encoders know float32 alone."""
    if isinstance(encoder, Encoder):
        clip = encoder.clip
        shape = (WINDOWS, 3, clip.frames, clip.size, clip.size)
        return choose_precision(precision, [(encoder.network, shape)], device=device)
    if precision not in ("auto", "float32"):
        raise UserError(f"--precision is {precision}; frozen image encoders are computed in float32.")
    return None, "a frozen image encoder is in it"


def video_spans(
    data: Dataset, number: int, segments: Segments, *, timed: bool
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First frame and one after the last of each segment in the video's file, and when these are shown.

    Args:
        data: the videos as they were embedded, perhaps at one rate.
        number: of the video.
        segments: as ``video_vectors`` gives them.
        timed: ask the file when its frames appear.

    Returns:
        int64 ``[S, 2]`` and float64 ``[S, 2]``, seconds from the file's first frame, NaN where nothing tells the time.
    """
    files = as_files(data)
    seconds = _seconds(files, number, timed=timed)
    frames_S2 = np.stack([segments.first_frame, segments.first_frame + segments.frames], axis=1)
    if isinstance(data.source, ResampledFrames):  # what the segments count is at the rate, from the part's first
        begin = files.catalog.videos[number].first_frame
        frames_S2 = begin + data.source.file_spans(number, frames_S2 - begin)
    return frames_S2, seconds[frames_S2]


def _seconds(files: Dataset, number: int, *, timed: bool) -> NDArray[np.float64]:
    """When each frame of the video's file appears."""
    video = files.catalog.videos[number]
    last, file = video.first_frame + video.frames, str(files.catalog.file(video))
    if timed:
        try:
            seconds = isolated(file, time_limit(file), frame_seconds, file)
        except VideoError:
            pass  # it was read a moment ago; the mean rate is the best that is left
        else:
            if len(seconds) > last and not np.isnan(seconds).any():
                return seconds
    seconds = even_seconds(last, video.fps)
    if isinstance(files.source, FrameStore):
        seconds[video.first_frame :] = files.source.file_seconds(number)
    return seconds
