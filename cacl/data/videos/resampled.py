"""A data set as if every video had the same frame rate (``data.frame_rate``): clips then last equally long.

Everything above counts frames at that rate; here they become the file's frames, by its own timestamps.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.catalog import Catalog
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.resample import file_spans, nearest_frames, resampled_count
from cacl.data.videos.sources import TimedSource
from cacl.errors import counted

_KEPT = 4096  # maps of videos, some kilobytes each
_SLOWER = 0.99  # of the rate: less is not a matter of rounding


class ResampledFrames:
    """Frames of videos at one rate.

    Args:
        whole: the videos as they are.
        files: their catalog.
        rate: frames a second.

    Attributes:
        catalog: the same videos with the number of frames and the rate that they have here.
    """

    def __init__(self, whole: TimedSource, files: Catalog, rate: float) -> None:
        self.whole, self.files, self.rate = whole, files, rate
        self.catalog = at_rate(files, rate)
        self._maps: OrderedDict[int, NDArray[np.int64]] = OrderedDict()

    @property
    def height(self) -> int:
        """Of every frame, pixels."""
        return self.whole.height

    @property
    def width(self) -> int:
        """Of every frame, pixels."""
        return self.whole.width

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames of one video, uint8 RGB ``[T, H, W, 3]``; numbers count frames at the rate."""
        count = self.catalog.videos[video].frames
        if len(indices) and not (indices.min() >= 0 and indices.max() < count):
            raise IndexError(f"frames {indices.min()} to {indices.max()} of video {video} asked for, of {count}")
        return self.whole.read(video, self._map(video)[indices])

    def file_spans(self, video: int, bounds: NDArray[np.int64]) -> NDArray[np.int64]:
        """First and stop of stretches, ``[n, 2]``, counted in frames at the rate, in frames of the video as it is."""
        return file_spans(self._map(video), self.files.videos[video].frames, bounds)

    def _map(self, video: int) -> NDArray[np.int64]:
        found = self._maps.get(video)
        if found is None:
            seconds, count = self.whole.seconds(video), self.catalog.videos[video].frames
            found = self._maps[video] = nearest_frames(seconds, count, self.rate)
            if len(self._maps) > _KEPT:
                with suppress(KeyError):  # another thread was faster
                    self._maps.popitem(last=False)
        return found

    def __deepcopy__(self, memo: object) -> ResampledFrames:
        return self  # for several threads at once

    def __getstate__(self) -> dict[str, Any]:
        return {"whole": self.whole, "files": self.files, "rate": self.rate}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]


def at_rate(files: Catalog, rate: float) -> Catalog:
    """The videos with the frames that they have at ``rate`` a second; those of unknown rate as they are."""
    videos = (
        replace(v, frames=resampled_count(v.frames, v.fps, rate), fps=rate) if v.fps > 0 else v for v in files.videos
    )
    return replace(files, videos=tuple(videos))


def resampled(data: Dataset, rate: float | None, *, say: Callable[[str], None] = lambda text: None) -> Dataset:
    """The data set at ``rate`` frames a second, or as it is where that is ``None``.

    Args:
        say: told how many videos have fewer frames a second, and how many say nothing of time.
    """
    if rate is None:
        return data
    videos = data.catalog.videos
    slower = [video for video in videos if 0 < video.fps < _SLOWER * rate]
    if slower:
        first = min(slower, key=lambda video: video.fps)
        say(
            f"{counted(len(slower), 'video')} of {len(videos)} {'has' if len(slower) == 1 else 'have'} fewer than "
            f"{rate:g} frames a second ({first.path}: {first.fps:.4g}): some of their frames are repeated."
        )
    if unknown := sum(video.fps <= 0 for video in videos):
        verb = "says" if unknown == 1 else "say"
        say(f"{counted(unknown, 'video')} of {len(videos)} {verb} nothing of time: read frame by frame.")
    assert isinstance(data.source, TimedSource)
    source = ResampledFrames(data.source, data.catalog, rate)
    return Dataset(source.catalog, source, data.rules)


def as_files(data: Dataset) -> Dataset:
    """The data set with every frame that its files have."""
    source = data.source
    return Dataset(source.files, source.whole, data.rules) if isinstance(source, ResampledFrames) else data
