"""Which frames make a clip: windows, training starts and evaluation starts, as pure index arithmetic.

A frame index counts the frames of a full decode in presentation order; it is not a time. Every function takes the
number of frames of the video and, where it draws, a NumPy generator, and returns int64 indices.

Shapes: N moments (clips) of one video, T frames a clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Window = Literal["fitted", "padded"]  # how many frames a clip is held to span: see ``padded_window``

# 16 frames at stride 2 span 31 frames, because the gap after the last frame does not count:
#
#   frame   start  +1  +2  +3  +4   …   +28  +29  +30
#   taken     0         1         2   …   14         15      length = (16 - 1) · 2 + 1 = 31
#
# A video of N = 40 frames has 40 - 31 + 1 = 10 starts (0 … 9). At N = 30 the window of 31 does not fit; stride 1 spans
# 16 frames and has 15 starts. At N = 10 nothing fits: 0 1 … 9 0 1 … 5 (index mod N), one start.


@dataclass(frozen=True, slots=True)
class ClipWindow:
    """How a clip lies in a video.

    Attributes:
        stride: distance between two taken frames.
        length: frames spanned, from the first taken one to the last, both included; frames of a video that has fewer
            are taken modulo its length.
        starts: number of starts that fit, 1 or more; valid starts are ``0 … starts - 1``.
    """

    stride: int
    length: int
    starts: int


class TooShort(Exception):
    """Raised by a plan: a video has too few frames for what was drawn.

    The loader asks the next candidate with the same generator, so that what was drawn first (a speed, a class) stays.
    """


@dataclass(frozen=True, slots=True, eq=False)
class ClipPlan:
    """What to read for one sample, and what the method wants to be told about it.

    Attributes:
        clips: int64 ``[T]`` each, frame indices, 0 or more; clips may differ in length. A frame that occurs several
            times is read once.
        targets: arrays the method needs for this sample (a permutation, a class), of a shape and type that are the
            same for every sample.
    """

    clips: tuple[NDArray[np.int64], ...]
    targets: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.clips:
            raise ValueError("a plan needs at least one clip")
        for clip in self.clips:
            if clip.ndim != 1 or clip.dtype != np.int64 or clip.size == 0:
                raise ValueError(f"a clip must be int64 [T], found {clip.dtype} {list(clip.shape)}")
            if clip.min() < 0:
                raise ValueError(f"frame indices must be 0 or more, found {clip.min()}")

    def __repr__(self) -> str:
        clips = ", ".join(f"{len(clip)} frames {clip.min()}…{clip.max()}" for clip in self.clips)
        targets = ", ".join(f"{name} {list(value.shape)}" for name, value in self.targets.items())
        return f"ClipPlan({clips}; targets: {targets or 'none'})"


def clip_window(n_frames: int, *, frames: int = 16, stride: int = 2) -> ClipWindow:
    """The largest stride up to ``stride`` whose window fits a video of ``n_frames``, else a looped clip at stride 1.

    Raises:
        ValueError: a count or the stride is below 1.
    """
    if min(n_frames, frames, stride) < 1:
        raise ValueError(f"n_frames, frames and stride must be 1 or more, found {n_frames}, {frames}, {stride}")
    for step in range(stride, 0, -1):
        length = (frames - 1) * step + 1
        if length <= n_frames:
            return ClipWindow(step, length, n_frames - length + 1)
    return ClipWindow(1, frames, 1)


def padded_window(n_frames: int, *, frames: int, stride: int, shortest: int) -> ClipWindow:
    """The window of the authors' evaluation and fine-tuning: ``frames * stride``, with the gap after the last frame.

    A video of fewer than ``shortest`` frames is read at stride 1, whatever stride would fit, or looped.
    """
    if n_frames < shortest:
        return clip_window(n_frames, frames=frames, stride=1)
    length = frames * stride
    return ClipWindow(stride, length, max(1, n_frames - length + 1))


def training_clip(
    n_frames: int,
    rng: np.random.Generator,
    *,
    frames: int = 16,
    stride: int = 2,
    window: Window = "fitted",
    start_window: int | None = None,
    moments: int = 1,
) -> NDArray[np.int64]:
    """Frame indices of one training sample, its starts uniform over every start whose window fits.

    Args:
        n_frames: frames of the video.
        rng: where the starts come from; one number a moment.
        frames: frames a clip.
        stride: distance between frames, lowered for videos that are too short for it.
        window: ``padded`` as the authors' fine-tuning: starts leave room for ``frames * stride`` frames, and a video
            that has no more than these is read at stride 1.
        start_window: draw the starts as if the window spanned this many frames, so that later starts never occur. The
            authors' code does so with 46 for a window of 31 and leaves shorter videos out of the training set, which is
            the caller's part. None: the window's own length.
        moments: clips a sample; with 2, view k is taken from another moment of the video than view q.

    Returns:
        int64 ``[moments, frames]``.

    Raises:
        TooShort: ``start_window`` is longer than the video.
        ValueError: ``start_window`` is shorter than the window; or a count is below 1.
    """
    if window == "padded":
        placed = padded_window(n_frames, frames=frames, stride=stride, shortest=frames * stride + 1)
    else:
        placed = clip_window(n_frames, frames=frames, stride=stride)
    starts = placed.starts
    if start_window is not None:
        if start_window < (frames - 1) * stride + 1:
            raise ValueError(f"start_window={start_window} is shorter than the window of {(frames - 1) * stride + 1}")
        if n_frames < start_window:
            raise TooShort(f"{n_frames} frames, data.start_window is {start_window}")
        starts = n_frames - start_window + 1
    if moments < 1:
        raise ValueError(f"moments must be 1 or more, found {moments}")
    first = int(rng.integers(starts))
    later = rng.integers(0, starts, size=moments - 1)
    return _indices(np.concatenate([[first], later]), placed, n_frames, frames)


def spaced_clips(
    n_frames: int, rng: np.random.Generator, *, clips: int, frames: int = 16, stride: int = 1, gap: int = 8
) -> NDArray[np.int64]:
    """Consecutive clips of one video with ``gap`` frames between them, the start uniform over all that fit.

    Where a video is too short the gap shrinks, then the stride; where even that does not fit, frames are taken modulo
    the video's length. Nothing else changes, so that what was drawn for the sample stays.

    Returns:
        int64 ``[clips, frames]``, in the order of time.

    Raises:
        ValueError: a count is below 1, or the gap below 0.
    """
    if min(n_frames, clips, frames, stride) < 1 or gap < 0:
        raise ValueError(f"counts must be 1 or more, found {n_frames}, {clips}, {frames}, {stride} and gap {gap}")

    #   |<- frames · stride ->|<- gap ->|<- frames · stride ->|<- gap ->|<- (frames - 1) · stride + 1 ->|
    def length(stride: int, gap: int) -> int:
        return (clips - 1) * (frames * stride + gap) + (frames - 1) * stride + 1

    while length(stride, gap) > n_frames and (gap, stride) != (0, 1):
        gap, stride = (gap - 1, stride) if gap else (0, stride - 1)
    start = int(rng.integers(max(1, n_frames - length(stride, gap) + 1)))
    starts_N = start + (frames * stride + gap) * np.arange(clips, dtype=np.int64)
    return (starts_N[:, None] + stride * np.arange(frames, dtype=np.int64)) % n_frames


def start_elsewhere(first: int, second: int, starts: int) -> int:
    """The second of two starts, 2 or more from the first wherever a video has so much room (4 starts or more).

    Where it is nearer it moves on by a third of the starts, as the authors' code of DSM and MoCo+BE by a third of the
    video; where that is still too near, in short videos, it is the first or the last start, whichever is farther. Only
    of one start are both the same.
    """
    if abs(first - second) < 2:
        second = (second + starts // 3) % starts
    if abs(first - second) < 2:
        second = 0 if 2 * first >= starts - 1 else starts - 1
    return second


def evaluation_clips(
    n_frames: int, *, frames: int = 16, stride: int = 2, clips: int = 10, window: Window = "fitted"
) -> NDArray[np.int64]:
    """Evenly spaced clips of a video: starts ``round(linspace(0, N - window, clips))``, half to even.

    A looped video gives the same clip every time.

    Args:
        n_frames: frames of the video.
        frames: frames a clip.
        stride: distance between frames, lowered for videos that are too short for it.
        clips: how many.
        window: ``padded`` as the authors' evaluation: starts ``floor(linspace(0, N - frames * stride, clips))``; where
            no clip at ``stride`` fits, every clip is the video's first frames at stride 1.

    Returns:
        int64 ``[clips, frames]``.

    Raises:
        ValueError: a count is below 1.
    """
    if clips < 1:
        raise ValueError(f"clips must be 1 or more, found {clips}")
    if window == "padded":
        placed = padded_window(n_frames, frames=frames, stride=stride, shortest=(frames - 1) * stride + 1)
        last = placed.starts - 1 if placed.stride == stride else 0
        starts = np.arange(clips, dtype=np.int64) * last // max(clips - 1, 1)
        return _indices(starts, placed, n_frames, frames)
    placed = clip_window(n_frames, frames=frames, stride=stride)
    # In whole numbers, because linspace may land beside an exact half: the k-th start is k · last / (clips - 1).
    intervals = max(clips - 1, 1)
    starts, rest = np.divmod(np.arange(clips, dtype=np.int64) * (placed.starts - 1), intervals)
    round_up = (2 * rest > intervals) | ((2 * rest == intervals) & (starts % 2 == 1))
    return _indices(starts + round_up, placed, n_frames, frames)


def _indices(starts_N: NDArray[np.int64], window: ClipWindow, n_frames: int, frames: int) -> NDArray[np.int64]:
    """Frames ``start + stride · i`` of each start, modulo the video's length: int64 ``[N, frames]``."""
    steps_T = window.stride * np.arange(frames, dtype=np.int64)
    return (starts_N.astype(np.int64)[:, None] + steps_T[None, :]) % n_frames
