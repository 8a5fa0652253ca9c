"""Duplicates in an index: its vectors name candidates, and the pixels of their files are looked at."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.colours import AS_CODED
from cacl.data.media.cut import Cut
from cacl.data.media.isolated import isolated, time_limit
from cacl.data.media.open_files import frame_seconds, read_frames
from cacl.errors import VideoError
from cacl.search.duplicates import Duplicate, Stretches, find_duplicates

if TYPE_CHECKING:
    from cacl.indexing.reader import Index

_HEIGHT, _WIDEST = 96, 4.0  # pixels of what is compared; width for a height
_RATE = 25.0  # frames a second where nothing is known of time
_AT_ONCE = 64  # frames read by one call


def duplicates_of(
    index: Index, *, pixels: bool, say: Callable[[str], None], progress: Callable[[str, int, int], None]
) -> list[Duplicate]:
    """See ``Index.duplicates``."""
    skipped: list[VideoError] = []
    total = len(index.videos)
    found = find_duplicates(
        index.neighbours,
        stretches_of(index),
        index.scale,
        frames=_frames_of(index) if pixels else None,
        decisions=index.decisions,
        skipped=skipped,
        progress=lambda done: progress("videos compared", done, total),
    )
    progress("videos compared", total, total)
    for path, reason in dict.fromkeys((error.path, error.reason) for error in skipped):
        say(f"{path} could not be looked at ({reason}): what is said of it is by vectors alone.")
    return [one for one in found if one.first != one.second]


def stretches_of(index: Index) -> Stretches:
    """What the vectors are of, as duplicates are looked for; by frame numbers where nothing is known of time."""
    spans = index.spans
    unknown = np.isnan(spans.seconds).any(axis=1, keepdims=True)
    seconds = np.where(unknown, spans.frames / _RATE, spans.seconds)
    ends = [float(seconds[spans.rows(number), 1].max()) for number in range(len(index.videos))]
    return Stretches(spans.video, seconds[:, 0], seconds[:, 1], [video.path for video in index.videos], ends)


def _frames_of(index: Index) -> Callable[[int, NDArray[np.float64]], NDArray[np.uint8]]:
    videos = index.catalog.videos
    blank = tuple(tuple(box) for box in index.about["encoder"]["clip"].get("blank", ()))

    @lru_cache(256)
    def shown(file: str) -> NDArray[np.float64]:
        return isolated(file, time_limit(file), frame_seconds, file)

    def frames(number: int, times: NDArray[np.float64]) -> NDArray[np.uint8]:
        video = videos[number]
        file = str(index.root / video.path)
        try:
            seconds = shown(file)
            if np.isnan(seconds).any():
                seconds = np.arange(len(seconds)) / _RATE
            wanted = np.clip(np.searchsorted(seconds, times + 1e-6, side="right") - 1, 0, len(seconds) - 2)
            numbers, back = np.unique(wanted, return_inverse=True)
            width = round(_HEIGHT * min(video.width / max(video.height, 1), _WIDEST))
            parts = [
                isolated(
                    file,
                    time_limit(file),
                    read_frames,
                    file,
                    numbers[start : start + _AT_ONCE],
                    height=_HEIGHT,
                    width=max(width, 8),
                    at_least=0,
                    rules=AS_CODED,
                    known=None,
                    cut=Cut(video.region, blank),
                )[0]
                for start in range(0, len(numbers), _AT_ONCE)
            ]
        except VideoError as error:
            raise VideoError(video.path, error.reason) from None
        read: NDArray[np.uint8] = np.concatenate(parts)[back]
        return read

    return frames
