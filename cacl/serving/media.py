"""Pictures and videos for the page: only those of the index's videos, by their keys.

A browser plays a part of the formats there are; of others, of folders of pictures and of what lies on a server a part
of at most ``LONGEST`` seconds is encoded anew.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from starlette.concurrency import run_in_threadpool

from cacl.data.media.colours import AS_CODED
from cacl.data.media.cut import Cut
from cacl.data.media.encode import write_video
from cacl.data.media.isolated import isolated, time_limit
from cacl.data.media.open_files import frame_seconds, read_frames
from cacl.data.media.pictures import is_pictures, on_disk
from cacl.data.remote.place import file_at
from cacl.data.remote.servers import is_url
from cacl.errors import UserError, VideoError
from cacl.indexing.generation import IndexedVideo
from cacl.serving.current import View

LONGEST = 12.0  # seconds that are encoded anew
_HEIGHT, _WIDEST = 288, 2.4  # pixels of these; width for a height
_FRAMES = 300
_KEPT = 24  # encoded parts
_TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/mp4", ".webm": "video/webm", ".mkv": "video/webm",
    ".ogv": "video/ogg", ".ogg": "video/ogg",
}  # fmt: skip


def type_of(path: Path) -> str:
    """What a browser is told a file is; never anything that it could run."""
    return _TYPES.get(path.suffix.lower(), "application/octet-stream")


def file_of(view: View, video: IndexedVideo) -> Path:
    """The file of a video. Raises UserError: it is not there, or no single file on a disk."""
    path = _there(view, video)
    if is_url(path):
        raise UserError(f"{path} lies on a server and is not handed on: ask for a part of it.")
    if is_pictures(path):
        raise UserError(f"{video.path} is a folder of pictures, which no browser plays: ask for a part of it.")
    return path


def _there(view: View, video: IndexedVideo) -> Path:
    """Where a video is; of what is on a server only its reader can say. Raises UserError: not on its disk."""
    path = file_at(view.index.root, video.path)
    if not is_url(path) and not on_disk(path).exists():
        raise UserError(
            f"{video.path} is not at {view.index.root}: connect its disk, or start cacl serve again with --videos "
            "and the folder that the videos were moved to."
        )
    return path


class Clips:
    """Parts of videos that were encoded anew, one at a time, the last ones kept. Of one event loop."""

    def __init__(self) -> None:
        self._made = OrderedDict[tuple[str, float], bytes]()
        self._encoding = asyncio.Lock()

    async def clip(
        self, view: View, video: IndexedVideo, start: float, *, gone: Callable[[], Awaitable[bool]]
    ) -> bytes | None:
        """An MP4 of the part of a video from ``start`` (seconds) on.

        Args:
            gone: asked before it is encoded, whether nobody waits for it any more; ``None`` is the answer then.

        Raises:
            UserError: it cannot be read.
        """
        own = video.key, round(start, 2)
        if own not in self._made:
            async with self._encoding:
                if own not in self._made:
                    if await gone():
                        return None
                    self._made[own] = await run_in_threadpool(_encoded, view, video, start)
                    while len(self._made) > _KEPT:
                        self._made.popitem(last=False)
        self._made.move_to_end(own)
        return self._made[own]


def begin_of(view: View, video: IndexedVideo, n: int) -> float:
    """When the ``n``-th stretch of a video begins, seconds as its parts are encoded. Raises UserError: it has none."""
    if not 0 <= n < video.rows:
        raise UserError(f"{video.path} has no stretch {n}.")
    row = video.first_row + n
    seconds = float(view.index.spans.seconds[row, 0])
    return float(view.index.spans.frames[row, 0]) / _rate(video) if np.isnan(seconds) else seconds


def _rate(video: IndexedVideo) -> float:
    """Frames a second where the frames themselves say nothing of time."""
    return video.fps or 25.0


def _encoded(view: View, video: IndexedVideo, start: float) -> bytes:
    place = _there(view, video)
    file, region = str(place), view.index.catalog.videos[view.numbers[video.key]].region
    try:
        seconds = isolated(file, time_limit(place), frame_seconds, file)[:-1]  # the last one is the end
        if np.isnan(seconds).any():
            seconds = np.arange(len(seconds)) / _rate(video)
        inside = np.flatnonzero((seconds >= start) & (seconds < start + LONGEST))
        if not len(inside):
            raise UserError(f"{video.path} has no frame at {start:.1f} s.")
        numbers = inside[:: -(-len(inside) // _FRAMES)]
        width = 2 * round(_HEIGHT * min(video.width / max(video.height, 1), _WIDEST) / 2)
        frames = isolated(
            file, time_limit(place), read_frames, file, numbers,
            height=_HEIGHT, width=max(width, 16), at_least=0, rules=AS_CODED, known=None, cut=Cut(region),
        )[0]  # fmt: skip
    except VideoError as error:
        raise UserError(f"{video.path} cannot be shown: {error.reason}.") from None
    times = seconds[numbers[: len(frames)]]
    with tempfile.TemporaryDirectory(prefix="cacl-") as folder:
        made = Path(folder) / "clip.mp4"
        pace = float(np.diff(times).mean()) if len(times) > 1 else 0.04
        write_video(made, frames, fps=1 / max(pace, 1e-3), options={"preset": "veryfast", "movflags": "+faststart"})
        return made.read_bytes()
