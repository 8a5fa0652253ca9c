"""Stretches of videos and their vectors: what embedding videos of any length gives.

Shapes: S segments, T frames a clip, D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cacl.data.clips.sampling import clip_window


class Segment(NamedTuple):
    """A row of ``Segments``, without its vector."""

    path: str
    start_s: float
    end_s: float
    first_frame: int
    frames: int


@dataclass(frozen=True, eq=False)
class Segments:
    """A table of stretches of one video or many, with their vectors; iterating gives rows.

    Attributes:
        path: of the file of each row, as it was given, or relative to the folder that was embedded.
        start_s: float64 ``[S]``, seconds from the file's first frame.
        end_s: float64 ``[S]``, seconds. Both are NaN where nothing is known about time.
        first_frame: int64 ``[S]``, number of its first frame in the file, from 0.
        frames: int64 ``[S]``, how many.
        vector: float32 ``[S, D]``.
    """

    path: Sequence[str]
    start_s: NDArray[np.float64]
    end_s: NDArray[np.float64]
    first_frame: NDArray[np.int64]
    frames: NDArray[np.int64]
    vector: NDArray[np.float32]

    def __post_init__(self) -> None:
        columns = (self.start_s, self.end_s, self.first_frame, self.frames)
        if self.vector.ndim != 2 or any(column.shape != (len(self.vector),) for column in columns):
            shapes = ", ".join(str(column.shape) for column in (*columns, self.vector))
            raise ValueError(f"columns of shape {shapes} do not belong together: [S] and at last [S, D] are expected")

    def __len__(self) -> int:
        return len(self.vector)

    def __getitem__(self, row: int) -> Segment:
        columns = (self.start_s, self.end_s, self.first_frame, self.frames)
        return Segment(self.path[row], *(column[row].item() for column in columns))

    def __iter__(self) -> Iterator[Segment]:
        columns = (self.start_s, self.end_s, self.first_frame, self.frames)
        return map(Segment, self.path, *(column.tolist() for column in columns))

    def __repr__(self) -> str:
        of = f"{self.path[0]}: " if len(set(self.path)) == 1 else f"{len(set(self.path))} videos: "
        end = f" of {self.end_s[-1]:.1f} s" if len(set(self.path)) == 1 else ""
        return f"Segments({of}{len(self)} segments{end}, {self.vector.shape[1]} features)"


def segment_windows(
    n_frames: int, *, frames: int, stride: int, step: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Windows one after the other over the whole video.

    Each stands for ``frames * stride`` frames, so that consecutive ones meet. Frames left over at the end get a last
    window that ends with the video and overlaps the one before. A video too short for one window is read as everywhere
    else: at a smaller stride, or looped.

    Args:
        n_frames: frames in the video, 1 or more.
        frames: T, frames a clip.
        stride: frames from one of them to the next.
        step: frames from one window to the next; ``None`` means ``frames * stride``, without overlap.

    Returns:
        Of each window the frame numbers to read, int64 ``[S, T]``, the first frame that it stands for and one after the
        last, int64 ``[S]``.

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
    return frames_ST, start_S, np.minimum(start_S + span, n_frames)


def even_seconds(n_frames: int, fps: float) -> NDArray[np.float64]:
    """When each of evenly spaced frames is shown, and when the last one ends: float64 ``[n_frames + 1]``, 0 first.

    Args:
        n_frames: number of frames, 1 or more.
        fps: frames a second; 0 when unknown (then all is NaN).
    """
    return np.arange(n_frames + 1, dtype=np.float64) / fps if fps > 0 else np.full(n_frames + 1, np.nan)
