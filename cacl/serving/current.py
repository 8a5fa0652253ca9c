"""The index as the page sees it: opened anew when ``cacl index`` has made another state of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from cacl.data.media.pictures import is_pictures
from cacl.data.remote.servers import is_url
from cacl.errors import UserError
from cacl.indexing.generation import IndexedVideo
from cacl.indexing.reader import Index
from cacl.servers.address import is_address


class StaleError(Exception):
    """The page was opened on another state of the index."""


@dataclass(frozen=True, eq=False)
class View:
    """One state of the index.

    Attributes:
        index: it, open.
        state: its name; a page keeps it and sends it with everything that it asks.
    """

    index: Index
    state: str

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Number of each video by its key."""
        return {video.key: number for number, video in enumerate(self.index.videos)}

    @cached_property
    def parts_of(self) -> dict[str, list[IndexedVideo]]:
        """The videos of each file, by its path, in their order: several where a list named parts of it."""
        found: dict[str, list[IndexedVideo]] = {}
        for video in self.index.videos:
            found.setdefault(video.path, []).append(video)
        return found

    def part(self, path: str, start: float | None, end: float | None) -> IndexedVideo:
        """Of the videos of a file the one that most of a stretch (seconds) lies in; the first where none is known."""
        parts = self.parts_of[path]
        if start is None or end is None or len(parts) == 1:
            return parts[0]
        spans = [self.span(video) or (0.0, 0.0) for video in parts]
        return parts[int(np.argmax([min(end, last) - max(start, first) for first, last in spans]))]

    def video(self, key: str) -> IndexedVideo:
        """The video with this key. Raises UserError: there is none."""
        number = self.numbers.get(key)
        if number is None:
            raise UserError("That video is not in the index any more, or has changed since: choose it again.")
        return self.index.videos[number]

    def span(self, video: IndexedVideo) -> tuple[float, float] | None:
        """First and last second of a video in its file; None where nothing is known of time."""
        seconds = self.index.spans.seconds[video.first_row : video.first_row + video.rows]
        if not len(seconds) or np.isnan(seconds).any():
            return None
        return float(seconds[:, 0].min()), float(seconds[:, 1].max())

    def facts(self, video: IndexedVideo) -> dict[str, Any]:
        """A video, for the page."""
        span = self.span(video)
        return {
            "key": video.key,
            "path": video.path,
            "label": video.label,
            "absent": video.absent,
            "whole": _is_one_file(self.index.root, video.path),
            "rows": video.rows,
            "from_s": None if span is None else round(span[0], 3),
            "to_s": None if span is None else round(span[1], 3),
            "width": video.width,
            "height": video.height,
        }


def _is_one_file(root: Path, path: str) -> bool:
    """Whether a video is one file on a disk, so that it can be handed on; only of a doubtful name the disk is asked."""
    name = path.rpartition("/")[2]
    return not is_url(path) and (("." in name and "*" not in name) or not is_pictures(root / path))


class Current:
    """The state of an index that counts now.

    Attributes:
        folder: where the index lies.
    """

    def __init__(self, place: str | Path, *, videos: Path | None = None, approximate: bool = False) -> None:
        """Raises UserError: no index, or damaged; or the server cannot be reached."""
        self._place, self._videos, self._approximate = place, videos, approximate
        self._lock = threading.Lock()
        self.folder = Path(place)
        if is_address(place):
            with Index(place) as index:
                self.folder = index.path
        self._stamp = stamp_of(self.folder / "index.json")
        self._view = self._open()

    def view(self, state: str | None = None) -> View:
        """The state that counts; who has the old one keeps it until the last answer from it is made.

        Args:
            state: that the page was opened on, ``None``: whichever counts.

        Raises:
            StaleError: another one counts by now.
            UserError: the index was taken away or damaged.
        """
        with self._lock:
            stamp = stamp_of(self.folder / "index.json")
            if stamp != self._stamp:
                self._view, self._stamp = self._open(), stamp
            view = self._view
        if state is not None and state != view.state:
            raise StaleError
        return view

    def _open(self) -> View:
        index = Index(self._place, videos=self._videos, approximate=self._approximate)
        return View(index, f"{index.catalog_file.parent.name}-{str(index.about['fingerprint'])[:8]}")


def stamp_of(file: Path) -> tuple[int, int] | None:
    """Changes whenever a file is replaced; ``None`` where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
