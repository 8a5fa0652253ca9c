"""Which frames and seconds of its file a video's segments are: by its timestamps, as a store knows, or else evenly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.isolated import isolated, time_limit
from cacl.data.media.open_files import frame_seconds
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.resampled import ResampledFrames, as_files
from cacl.data.videos.sources import FrameStore
from cacl.errors import VideoError
from cacl.models.segments import Segments, even_seconds


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
        seconds[video.first_frame :] = seconds[video.first_frame] + files.source.seconds(number)
    return seconds
