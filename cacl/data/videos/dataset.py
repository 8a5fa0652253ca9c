"""Videos opened for reading: the catalog with a source of its frames, and which of them train and test.

Three sources serve the same purpose: the video files, a store inside the run folder, and a store made by
``cacl prepare``.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.catalog import Catalog, Video, scan
from cacl.data.videos.store import DecodedVideos, FrameSource, FrameStore, build_store, is_store
from cacl.errors import UserError

JPEG_BYTES_PER_PIXEL = 0.16  # JPEG of quality 90 at small sizes, rounded up
MOST_STORE_BYTES = 20 * 2**30


@dataclass(frozen=True)
class Dataset:
    """A catalog and a source: video i of the one is number i of the other."""

    catalog: Catalog
    source: FrameSource

    def numbers(self, split: str | None) -> list[int]:
        """Numbers of the videos of one split; every video when the catalog knows no splits or ``split`` is None."""
        videos = self.catalog.videos
        if split is None or all(video.split is None for video in videos):
            return list(range(len(videos)))
        return [i for i, video in enumerate(videos) if video.split == split]

    def videos(self, numbers: list[int]) -> list[Video]:
        """The catalog's rows of these numbers."""
        return [self.catalog.videos[i] for i in numbers]

    def subset(self, numbers: Sequence[int]) -> Dataset:
        """Some of the videos as a data set of their own: its video i is ``numbers[i]`` here."""
        videos = tuple(self.catalog.videos[i] for i in numbers)
        return Dataset(replace(self.catalog, videos=videos), _Part(self.source, tuple(map(int, numbers))))

    def __len__(self) -> int:
        return len(self.catalog.videos)

    @property
    def has_train(self) -> bool:
        """Whether some videos are set apart for training."""
        return any(video.split == "train" for video in self.catalog.videos)

    @property
    def has_test(self) -> bool:
        """Whether some videos are set apart for testing, and some for training."""
        splits = {video.split for video in self.catalog.videos}
        return "train" in splits and self.test_part in splits

    @property
    def test_part(self) -> Literal["test", "val"]:
        """What the part for testing is called: ``val`` where nothing is called ``test`` (Kinetics-400)."""
        splits = {video.split for video in self.catalog.videos}
        return "val" if "val" in splits and "test" not in splits else "test"


@dataclass(frozen=True)
class _Part:
    whole: FrameSource
    numbers: tuple[int, ...]

    @property
    def height(self) -> int:
        """Of the frames, in pixels."""
        return self.whole.height

    @property
    def width(self) -> int:
        """Of the frames, in pixels."""
        return self.whole.width

    def read(self, video: int, indices: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Frames of a video."""
        return self.whole.read(self.numbers[video], indices)


def open_dataset(
    videos: Path,
    *,
    height: int,
    width: int,
    lists: Path | None = None,
    split: int = 1,
    store: str = "none",
    store_folder: Path | None = None,
    workers: int = 0,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Dataset:
    """Find the videos and open a source of their frames at ``height`` x ``width``.

    Args:
        videos: a folder of videos, a list file, ``videos.csv``, or a store made by ``cacl prepare``.
        lists: a folder with the data set's split lists.
        split: which of its splits.
        store: ``none`` reads the files; ``auto`` keeps decoded frames in ``store_folder`` when they take less than
            20 GiB and less than half of the free disk; anything else is the folder to keep them in.
        store_folder: where ``auto`` puts them.
        workers: processes that decode for the store.
        say: told what is done and why.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Raises:
        UserError: no usable video, or a store of another frame size.
    """
    if is_store(videos):
        frames = FrameStore(videos)
        if (frames.height, frames.width) != (height, width):
            raise UserError(
                f"{videos} holds frames of {frames.height}x{frames.width}, data.resize is {height}x{width}; "
                f"set data.resize=[{frames.height}, {frames.width}], or prepare the store again."
            )
        if lists is not None:
            raise UserError(f"{videos} is a store and has its splits already; leave out --lists, or name the videos.")
        return Dataset(frames.catalog, frames)
    catalog = scan(videos, lists=lists, split=split, progress=_named(progress, "files looked at"))
    return open_catalog(
        catalog,
        height=height,
        width=width,
        store=store,
        store_folder=store_folder,
        workers=workers,
        say=say,
        progress=progress,
    )


def open_catalog(
    catalog: Catalog,
    *,
    height: int,
    width: int,
    store: str = "none",
    store_folder: Path | None = None,
    workers: int = 0,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Dataset:
    """A source of the frames of videos that were found already; arguments as of ``open_dataset``."""
    target = _store_target(catalog, store, store_folder, height * width, say)
    if target is None:
        return Dataset(catalog, DecodedVideos(catalog, height=height, width=width))
    watch = _named(progress, "videos decoded")
    built = build_store(catalog, target, height=height, width=width, workers=workers, progress=watch)
    return Dataset(built.catalog, built)


def _named(progress: Callable[[str, int, int], None] | None, what: str) -> Callable[[int, int], None] | None:
    return None if progress is None else partial(progress, what)


def _store_target(
    catalog: Catalog, store: str, folder: Path | None, pixels: int, say: Callable[[str], None]
) -> Path | None:
    if store == "none":
        return None
    if store != "auto":
        return Path(store)
    if folder is None:
        return None
    size = sum(video.frames for video in catalog.videos) * pixels * JPEG_BYTES_PER_PIXEL
    free = shutil.disk_usage(folder.parent).free
    if size > min(MOST_STORE_BYTES, free / 2):
        say(f"Frames are read from the videos: keeping them decoded would take about {size / 2**30:.0f} GiB.")
        return None
    return folder
