"""A sample of an archive: how many videos there are about, how long and how large they are, and what a look costs."""

from __future__ import annotations

import time
import tracemalloc
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cacl.data.media.pictures import size_of
from cacl.data.randomness import generator
from cacl.data.videos.catalog import Catalog, Skipped, Video
from cacl.data.videos.look import look
from cacl.data.videos.scan import scan
from cacl.data.videos.sources import is_store
from cacl.errors import UserError, counted

_MOST_FILES, _LEAST_FILES, _SECONDS = 200, 16, 6.0
_ROWS = 2000  # of a catalog, whose memory is measured


@dataclass(frozen=True)
class Archive:
    """What is known of an archive from some of its files.

    Attributes:
        files: how many there are that may be videos.
        videos: how many videos, from the share of the sample.
        sample: the videos of the files that were looked at, in random order.
        look: seconds to look at a file, for each video in it.
        bytes: of the files, for each video.
        row: bytes of memory that a video of a catalog takes.
    """

    files: int
    videos: int
    sample: Catalog
    look: float
    bytes: float
    row: float

    @property
    def frames(self) -> float:
        """Of a video, on average."""
        return sum(video.frames for video in self.sample.videos) / len(self.sample.videos)


def sample_of(videos: Path, *, lists: Path | None = None, split: int = 1, rate: float = 0.0) -> Archive:
    """List everything, and look at some files drawn at random: as many as six seconds allow.

    Args:
        videos, lists, split, rate: as of ``cacl.data.videos.scan``.

    Raises:
        UserError: a store, no such folder, or none of the files is a video.
    """
    if is_store(videos):
        raise UserError(f"{videos} is a store of frames: name the folder of videos that it was made of.")
    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def note(*words: Any, **more: Any) -> list[Video | Skipped]:
        asked.append((words, more))
        return []

    listed = scan(videos, lists=lists, split=split, rate=rate, look=note, empty=True)
    order = generator(0, "plan").permutation(len(asked))[:_MOST_FILES]
    found, skipped, size, began, looked = list[Video](), list[Skipped](), 0, 0.0, 0
    for place in order.tolist():
        words, more = asked[place]
        if not looked:
            look(*words, **more)  # the decode process starts, and the disk wakes up
            began = time.perf_counter()
        items = look(*words, **more)
        used = [item for item in items if isinstance(item, Video)]
        skipped += [item for item in items if isinstance(item, Skipped)]
        found += used
        size += size_of(words[0] / words[1]) if used else 0
        looked += 1
        if looked >= _LEAST_FILES and time.perf_counter() - began > _SECONDS:
            break
    seconds = time.perf_counter() - began
    if not found:
        reasons = Counter(item.reason for item in (*skipped, *listed.skipped)).most_common(1)
        most = f" (most often: {reasons[0][0]})" if reasons else ""
        raise UserError(
            f"{videos}: no video among {counted(looked or len(listed.skipped), 'file')}{most}. Name a folder of videos."
        )
    return Archive(
        files=len(asked),
        videos=max(1, round(len(asked) * len(found) / looked)),
        sample=Catalog(listed.root, tuple(found)),
        look=seconds / len(found),
        bytes=size / len(found),
        row=_row(found),
    )


def _row(videos: Sequence[Video]) -> float:
    """Bytes of a video in memory, its words included."""
    tracemalloc.start()
    kept = [replace(v, path=f"{v.path}.", id=f"{v.id}.") for v in (videos[i % len(videos)] for i in range(_ROWS))]
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return taken / len(kept)
