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

from cacl.data.media.colours import AS_CODED, PixelRules
from cacl.data.media.cut import Box
from cacl.data.remote.place import RemotePath, names_store, place
from cacl.data.videos.catalog import Catalog, Video
from cacl.data.videos.scan import scan
from cacl.data.videos.store import DecodedVideos, FrameSource, FrameStore, build_store, is_store
from cacl.errors import UserError

JPEG_BYTES_PER_PIXEL = 0.16  # JPEG of quality 90 at small sizes, rounded up
MOST_STORE_BYTES = 20 * 2**30


def thinned(numbers: Sequence[int], most: int) -> list[int]:
    """At most ``most`` of some videos, evenly spaced."""
    return list(numbers)[:: max(1, -(-len(numbers) // most))]


@dataclass(frozen=True)
class Dataset:
    """A catalog and a source: video i of the one is number i of the other."""

    catalog: Catalog
    source: FrameSource
    rules: PixelRules = AS_CODED  # by which its pixels became RGB

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


def videos_at(text: str | Path) -> Path:
    """Where videos are for what reads them often: something on a disk, or a store, which may be on a server.

    Raises:
        UserError: nothing is there, or an address of something else.
    """
    found = place(text)
    if not isinstance(found, RemotePath):
        if not found.exists():
            raise UserError(f"{text}: there is no such file or folder.")
    elif names_store(found) and not is_store(found):
        raise UserError(f"{found}: there is no complete store (manifest.json, offsets.npy) at this address.")
    elif not names_store(found):
        raise UserError(
            f"{found} is an address, and this is for what lies on a disk, or for a store, of which the address ends in "
            ".store: make a store of its videos, cacl prepare ADDRESS --out videos.store, and name that."
        )
    return found


def open_videos(
    videos: Path | Catalog,
    *,
    resize: tuple[int, int],
    lists: Path | None = None,
    split: int = 1,
    rules: PixelRules | Callable[[Catalog], PixelRules] = AS_CODED,
    store: str = "none",
    store_folder: Path | None = None,
    workers: int = 0,
    blank: tuple[Box, ...] = (),
    rate: float = 0.0,
    encoder: bool = False,
    say: Callable[[str], None] = lambda text: None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Dataset:
    """Find the videos and open a source of their frames.

    Args:
        videos: a folder (any tree), one file, a list file, ``videos.csv``, a store made by ``cacl prepare`` (which
            may be an address); or a catalog of what was found before.
        resize: height and width of the frames, pixels.
        lists: a folder with the data set's split lists.
        split: which of its splits.
        rules: how stored pixels become RGB, or what chooses that; a store has its own.
        store: ``none`` reads the files; ``auto`` keeps decoded frames in ``store_folder`` when they take less than
            20 GiB and less than half of the free disk; anything else is the folder to keep them in.
        store_folder: where ``auto`` puts them.
        workers: processes that decode for the store.
        blank: boxes that are black in every frame, ``(x, y, width, height)`` in pixels of the video.
        rate: frames a second of pictures in folders, where no list says it; 0: unknown.
        encoder: the frames are for an encoder that was trained on this size, so that it cannot be set otherwise.
        say: told what is done and why.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Raises:
        UserError: nothing there, no usable video, or a store of another frame size.
    """
    height, width = resize
    stored = not isinstance(videos, Catalog) and is_store(videos)
    if not isinstance(videos, Catalog) and not stored and not videos.exists():
        raise UserError(f"{videos}: there is no such file or folder.")
    if not isinstance(videos, Catalog) and stored:
        frames = FrameStore(videos)
        if (frames.height, frames.width) != resize:
            wanted = f"but the encoder knows {height}x{width}" if encoder else f"data.resize is {height}x{width}"
            mend = (
                f"prepare another store (cacl prepare VIDEOS --size {height} {width}), or name the videos"
                if encoder
                else f"set data.resize=[{frames.height}, {frames.width}], or prepare the store again"
            )
            raise UserError(f"{videos} holds frames of {frames.height}x{frames.width}, {wanted}; {mend}.")
        check_blank(frames, blank)
        if lists is not None:
            raise UserError(f"{videos} is a store and has its splits already; leave out --lists, or name the videos.")
        return Dataset(frames.catalog, frames, frames.rules)
    if isinstance(videos, Catalog):
        catalog = videos
    else:
        watch = _named(progress, "files looked at")
        catalog = scan(videos, lists=lists, split=split, rate=rate, blank=blank, progress=watch)
    rules = rules(catalog) if callable(rules) else rules
    target = _store_target(catalog, store, store_folder, height * width, say)
    if target is None:
        return Dataset(catalog, DecodedVideos(catalog, height=height, width=width, rules=rules), rules)
    watch = _named(progress, "videos decoded")
    built = build_store(catalog, target, height=height, width=width, rules=rules, workers=workers, progress=watch)
    return Dataset(built.catalog, built, built.rules)


def check_blank(store: FrameStore, blank: tuple[Box, ...]) -> None:
    """Raise UserError where other boxes are black in a store's frames than are asked for."""
    found = store.catalog.blank
    if set(found) != set(blank):
        said, wanted = ([",".join(map(str, box)) for box in boxes] for boxes in (found, blank))
        again = "".join(f" --blank {box}" for box in wanted)
        raise UserError(
            f"{store.path} holds frames with {' and '.join(said) or 'nothing'} blank (data.blank), but "
            f"{' and '.join(wanted) or 'nothing'} is to be: prepare another store (cacl prepare VIDEOS{again})."
        )


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
