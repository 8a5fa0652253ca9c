"""Stretches of a video and their vectors: what embedding a video of any length gives.

Shapes: S segments of one video, T frames a clip, D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cacl.data.clips.sampling import clip_window


@dataclass(frozen=True, eq=False)
class Segments:
    """Consecutive segments of one video.

    Attributes:
        video: path of the video, as it was given.
        start_s: float64 ``[S]``, seconds from the first frame, increasing.
        end_s: float64 ``[S]``, seconds; above ``start_s``. Both are NaN where the file says nothing about time.
        vector: float32 ``[S, D]``.
    """

    video: str
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    vector: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.vector.ndim != 2 or not self.start_s.shape == self.end_s.shape == (len(self.vector),):
            raise ValueError(
                f"{self.start_s.shape} starts, {self.end_s.shape} ends and vectors {self.vector.shape} do not belong "
                "together: [S], [S] and [S, D] are expected"
            )

    def __len__(self) -> int:
        return len(self.vector)

    def __repr__(self) -> str:
        end = self.end_s[-1] if len(self) else 0.0
        return f"Segments({self.video}: {len(self)} segments of {end:.1f} s, {self.vector.shape[1]} features)"


@dataclass(frozen=True, eq=False)
class SegmentWindows:
    """Which frames each segment reads, and which frames it stands for.

    Attributes:
        frames: int64 ``[S, T]``, frame numbers to read.
        starts: int64 ``[S]``, first frame that the segment stands for.
        stops: int64 ``[S]``, one after the last.
    """

    frames: NDArray[np.int64]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]


def segment_windows(n_frames: int, *, frames: int, stride: int, step: int | None = None) -> SegmentWindows:
    """Windows one after the other over the whole video.

    Each stands for ``frames * stride`` frames, so that consecutive ones meet. Frames left over at the end get a last
    window that ends with the video and overlaps the one before. A video too short for one window is read as everywhere
    else: at a smaller stride, or looped.

    Args:
        n_frames: frames in the video, 1 or more.
        frames: T, frames a clip.
        stride: frames from one of them to the next.
        step: frames from one window to the next; ``None`` means ``frames * stride``, without overlap.

    Raises:
        ValueError: a number below 1.
    """
    window = clip_window(n_frames, frames=frames, stride=stride)
    span = min(frames * window.stride, n_frames)
    step = span if step is None else step
    if step < 1:
        raise ValueError(f"step must be 1 or more, found {step}")
    last_start = window.starts - 1
    start_S = np.arange(0, last_start + 1, step, dtype=np.int64)
    if start_S[-1] + span < n_frames:
        start_S = np.append(start_S, last_start)
    frames_ST = (start_S[:, None] + window.stride * np.arange(frames, dtype=np.int64)) % n_frames
    return SegmentWindows(frames_ST, start_S, np.minimum(start_S + span, n_frames))


def even_seconds(n_frames: int, fps: float) -> NDArray[np.float64]:
    """When each of evenly spaced frames is shown, and when the last one ends: float64 ``[n_frames + 1]``, 0 first.

    Args:
        n_frames: number of frames, 1 or more.
        fps: frames a second; 0 when unknown (then all is NaN).
    """
    return np.arange(n_frames + 1, dtype=np.float64) / fps if fps > 0 else np.full(n_frames + 1, np.nan)
