"""Read frames of many videos in a few threads while the network runs, in their order.

Decoding releases the interpreter lock, so threads are enough. Open decoders are not to be shared, so each thread works
on its own copy of the source, made as pickling would make it. A video that fails is handed over as its error, never
raised. ``shared_videos`` shares the work among the processes of a job.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cacl.ahead import in_order
from cacl.data.videos.catalog import Skipped, Video
from cacl.data.videos.dataset import Dataset
from cacl.data.videos.sources import FrameSource
from cacl.distributed.processes import everyones, rank, world
from cacl.errors import UserError, VideoError

Item = TypeVar("Item")
Result = TypeVar("Result")
Made = TypeVar("Made")


def read_ahead(
    source: FrameSource, items: Iterable[Item], read: Callable[[FrameSource, Item], Result], *, threads: int = 2
) -> Iterator[tuple[Item, Result | VideoError]]:
    """Yield ``(item, read(source, item))`` in the order of ``items``, with ``threads`` reading ahead.

    Args:
        source: the frames; every thread gets a copy of its own.
        read: called in the threads; a ``VideoError`` it raises is yielded in place of the result, anything else is
            raised here.
        threads: at least 1; twice as many results wait at most.
    """
    local = threading.local()

    def work(item: Item) -> tuple[Item, Result | VideoError]:
        if not hasattr(local, "source"):
            local.source = copy.deepcopy(source)
        try:
            return item, read(local.source, item)
        except VideoError as error:
            return item, error

    yield from in_order(work, items, threads=threads)


def read_clips(source: FrameSource, number: int, indices_NT: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Frames of N clips of one video, ``[N, T, H, W, 3]``; a frame in several clips is read once."""
    unique, inverse = np.unique(indices_NT, return_inverse=True)
    frames_UHWC = source.read(number, unique)
    clips: NDArray[np.uint8] = frames_UHWC[inverse.reshape(indices_NT.shape)]
    return clips


def read_videos(
    data: Dataset,
    read: Callable[[FrameSource, int], Result],
    *,
    skipped: list[Skipped],
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Result]]:
    """Yield ``(number, read(source, number))`` of every video that can be read, in order.

    Args:
        data: the videos.
        read: called in the threads with the thread's own source.
        skipped: takes the videos that raise ``VideoError``.
        progress: called with the number of videos finished.

    Raises:
        UserError: if not one video could be read.
    """
    videos = data.catalog.videos
    for done, (number, result) in enumerate(read_ahead(data.source, range(len(videos)), read, threads=threads), 1):
        if isinstance(result, VideoError):
            skipped.append(Skipped(videos[number].path, result.reason))
        else:
            yield number, result
        if progress is not None:
            progress(done)
    _check_any(videos, skipped)


def shared_videos(
    data: Dataset,
    read: Callable[[FrameSource, int], Result],
    make: Callable[[Iterator[Result]], Iterator[Made]],
    *,
    group: int,
    skipped: list[Skipped],
    threads: int = 2,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[int, Made]]:
    """``read_videos`` with what is made of the videos, shared among the processes: every one gets everything, in order.

    Groups of ``group`` neighbouring videos are dealt out in turn, and what a group makes is shared with all. A group is
    made alike wherever that is, so that the number of processes changes nothing, not a bit. All of them must call this.

    Args:
        make: from what was read of a group's videos to as many results, in order, on the CPU. The rest as of
            ``read_videos``.

    Raises:
        UserError: if not one video could be read.
    """
    videos = data.catalog.videos
    starts = range(0, len(videos), group)
    groups = [range(start, min(start + group, len(videos))) for start in starts]
    own = [position for positions in groups[rank() :: world()] for position in positions]
    reading, done = read_ahead(data.source, own, read, threads=threads), 0

    def good(positions: range, kept: list[int], failed: list[Skipped]) -> Iterator[Result]:
        nonlocal done
        for position, result in (next(reading) for _ in positions):
            done += 1
            if progress is not None:
                progress(min(done * world(), len(videos)))
            if isinstance(result, VideoError):
                failed.append(Skipped(videos[position].path, result.reason))
            else:
                kept.append(position)
                yield result

    for first in range(0, len(groups), world()):
        kept, failed, made = list[int](), list[Skipped](), list[Made]()
        if first + rank() < len(groups):
            made = list(make(good(groups[first + rank()], kept, failed)))
        for positions, results, bad in everyones((kept, made, failed)):
            skipped.extend(bad)
            yield from zip(positions, results, strict=True)
    _check_any(videos, skipped)


def _check_any(videos: Sequence[Video], skipped: Sequence[Skipped]) -> None:
    if len(skipped) == len(videos):
        first = f"; the first, {skipped[0].path}: {skipped[0].reason}" if skipped else ""
        raise UserError(f"None of {len(videos)} videos could be read{first}. Run `cacl check` on the folder.")
