"""Duplicates in an index: its vectors name candidates, and the pixels of their files are looked at."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.colours import AS_CODED
from cacl.data.media.cut import Box, Cut
from cacl.data.media.isolated import LostProcess, OwnProcess, isolated, time_limit
from cacl.data.media.open_files import frame_seconds, read_frames
from cacl.data.remote.place import file_at
from cacl.data.videos.catalog import Video
from cacl.errors import VideoError
from cacl.machine.load import usable_processors
from cacl.search.alignment import Line
from cacl.search.duplicates import Duplicate, Look, Pair, Stretches, find_duplicates, looking
from cacl.search.same_pixels import PixelMatch

if TYPE_CHECKING:
    from cacl.indexing.reader import Index

_HEIGHT, _WIDEST = 96, 4.0  # pixels of what is compared; width for a height
_RATE = 25.0  # frames a second where nothing is known of time
_AT_ONCE = 64  # frames read by one call
_KEPT = 256 * 2**20  # bytes of frames: of some dozens of short videos


def duplicates_of(
    index: Index, *, pixels: bool, say: Callable[[str], None], progress: Callable[[str, int, int], None]
) -> list[Duplicate]:
    """See ``Index.duplicates``."""
    skipped: list[VideoError] = []
    stretches = stretches_of(index)
    source = _source(index, stretches)
    helpers = [_Helper(source) for _ in range(len(usable_processors()) - 1)] if pixels else []
    with ExitStack() as held:
        for helper in helpers:
            held.callback(helper.end)
        found = find_duplicates(
            index.neighbours,
            stretches,
            index.scale,
            frames=_SmallFrames(source) if pixels else None,
            helpers=[helper.look for helper in helpers],
            decisions=index.decisions,
            skipped=skipped,
            progress=progress,
        )
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


class _Source(NamedTuple):
    """All that is needed to read an index's videos, in any process."""

    root: Path
    videos: Sequence[Video]
    blank: tuple[Box, ...]
    lengths: Sequence[float]


def _source(index: Index, stretches: Stretches) -> _Source:
    blank = tuple(tuple(box) for box in index.about["encoder"]["clip"].get("blank", ()))
    return _Source(index.root, index.catalog.videos, blank, stretches.lengths)


class _Helper:
    """Looks at pixels in a process of its own, which begins when it is first asked; here where it ends too early."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        self._process: OwnProcess | None = None
        self._here: Look | None = None

    def look(self, pair: Pair, aligned: Sequence[Line]) -> list[PixelMatch | VideoError]:
        """See ``cacl.search.duplicates.Look``."""
        if self._here is None:
            try:
                if self._process is None:
                    self._process = OwnProcess()
                    self._process.run(_begin, self._source)
                return self._process.run(_look, pair, aligned)
            except LostProcess:
                self._here = looking(_SmallFrames(self._source), self._source.lengths)
        return self._here(pair, aligned)

    def end(self) -> None:
        """End its process."""
        if self._process is not None:
            self._process.end()


_looking: list[Look] = []  # in a helper's process: the one


def _begin(source: _Source) -> None:
    _looking[:] = [looking(_SmallFrames(source), source.lengths)]


def _look(pair: Pair, aligned: Sequence[Line]) -> list[PixelMatch | VideoError]:
    return _looking[0](pair, aligned)


class _SmallFrames:
    """Reads frames of the index's videos; those read last are kept, as a video is compared with several others.

    For any number of threads.
    """

    def __init__(self, source: _Source) -> None:
        self._root, self._videos, self._blank = source.root, source.videos, source.blank
        self._shown = lru_cache(256)(_shown)
        self._kept = OrderedDict[tuple[int, int], NDArray[np.uint8]]()
        self._bytes = 0
        self._lock = threading.Lock()

    def __call__(self, number: int, times: NDArray[np.float64]) -> NDArray[np.uint8]:
        """See ``cacl.search.duplicates.Frames``."""
        video = self._videos[number]
        file = str(file_at(self._root, video.path))
        try:
            seconds = self._shown(file)
            wanted = np.clip(np.searchsorted(seconds, times + 1e-6, side="right") - 1, 0, len(seconds) - 2)
            frames, back = np.unique(wanted, return_inverse=True)
            with self._lock:
                found = {frame: self._kept[number, frame] for frame in frames.tolist() if (number, frame) in self._kept}
            missing = np.array([frame for frame in frames.tolist() if frame not in found], np.int64)
            for start in range(0, len(missing), _AT_ONCE):
                part = missing[start : start + _AT_ONCE]
                found |= zip(part.tolist(), self._read(file, video, part), strict=True)
        except VideoError as error:
            raise VideoError(video.path, error.reason) from None
        with self._lock:
            self._keep(number, found)
        read: NDArray[np.uint8] = np.stack([found[frame] for frame in frames.tolist()])[back]
        return read

    def _read(self, file: str, video: Video, frames: NDArray[np.int64]) -> NDArray[np.uint8]:
        width = round(_HEIGHT * min(video.width / max(video.height, 1), _WIDEST))
        return isolated(
            file,
            time_limit(file),
            read_frames,
            file,
            frames,
            height=_HEIGHT,
            width=max(width, 8),
            at_least=0,
            rules=AS_CODED,
            known=None,
            cut=Cut(video.region, self._blank),
        )[0]

    def _keep(self, number: int, found: dict[int, NDArray[np.uint8]]) -> None:
        for frame, pixels in found.items():
            if (number, frame) not in self._kept:
                self._kept[number, frame] = pixels.copy()  # not the part that it was read with
                self._bytes += pixels.nbytes
            self._kept.move_to_end((number, frame))
        while self._bytes > _KEPT:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes


def _shown(file: str) -> NDArray[np.float64]:
    """When each frame of a file is shown, and when the last one ends, seconds."""
    seconds = isolated(file, time_limit(file), frame_seconds, file)
    return np.arange(len(seconds)) / _RATE if np.isnan(seconds).any() else seconds
