"""Numbered pictures in a folder, as a video: ``img_00001.jpg``, ``img_00002.jpg`` …, with any number of zeros.

A video of pictures is named by its folder, or, where several lie in one folder, by ``folder/img_*.jpg``.
"""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cacl.data.media.stream import MAX_PIXELS, MAX_SIDE, words
from cacl.data.remote.place import remote_size
from cacl.data.remote.servers import is_url
from cacl.errors import VideoError, counted

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame

SUFFIXES = frozenset("jpg jpeg jpe png bmp tif tiff webp ppm pgm pnm jp2 dpx".split())  # noqa: SIM905
_NUMBERED = re.compile(r"(.*?)(\d+)\.(\w+)", re.DOTALL)
_CODECS = {  # by the first bytes
    b"\xff\xd8\xff": "mjpeg",
    b"\x89PNG": "png",
    b"BM": "bmp",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"P5": "pgm",
    b"P6": "ppm",
    b"\0\0\0\x0cjP": "jpeg2000",
    b"SDPX": "dpx",
    b"XPDS": "dpx",
}


@dataclass(frozen=True)
class Sequence:
    """Pictures of one name with a number, in the order of the numbers.

    Attributes:
        stem: what stands before the number.
        suffix: of the files, without the dot.
        names: of the files.
        numbers: of the files, increasing.
    """

    stem: str
    suffix: str
    names: tuple[str, ...]
    numbers: tuple[int, ...]

    @property
    def pattern(self) -> str:
        """``img_*.jpg``."""
        return f"{self.stem}*.{self.suffix}"

    @property
    def gaps(self) -> str:
        """Which numbers are missing, in words, or an empty string; numbers without a common step are times."""
        steps = Counter(b - a for a, b in pairwise(self.numbers))
        if not steps:
            return ""
        step, often = steps.most_common(1)[0]
        twice = f"{counted(steps[0], 'number')} twice" if steps[0] else ""
        if step == 0 or often * 2 < len(self.numbers) - 1:
            return twice
        missing = [(a, (b - a) // step - 1) for a, b in pairwise(self.numbers) if b - a > step]
        if not missing:
            return twice
        lost = f"{counted(sum(n for _, n in missing), 'number')} missing, the first after {missing[0][0]}"
        return ", ".join(filter(None, (lost, twice)))


def sequences(names: Iterable[str]) -> list[Sequence]:
    """The numbered pictures among the files of one folder, by name."""
    found: defaultdict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    for name in names:
        match = _NUMBERED.fullmatch(name)
        if match and match[3].lower() in SUFFIXES and not name.startswith(".") and len(match[2]) < 30:
            found[match[1], match[3]].append((int(match[2]), name))
    return [
        Sequence(stem, suffix, tuple(name for _, name in sorted(rows)), tuple(number for number, _ in sorted(rows)))
        for (stem, suffix), rows in sorted(found.items())
    ]


def is_pictures(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a video of pictures: a folder, or a name with ``*`` that is no file."""
    if is_url(path):
        return False
    return os.path.isdir(path) or ("*" in os.path.basename(path) and not os.path.exists(path))


def on_disk(path: str | os.PathLike[str]) -> Path:
    """The file or folder of a video; of ``folder/img_*.jpg`` the folder."""
    place = path if isinstance(path, Path) else Path(path)
    if is_url(place):
        return place
    return place.parent if "*" in place.name and not os.path.lexists(place) else place


def size_of(path: str | os.PathLike[str]) -> int:
    """Bytes of a video's file, or of all files in its folder; 0 where it is gone."""
    if is_url(path):
        return remote_size(str(path))
    place = on_disk(path)
    try:
        found = place.stat()
        return _size_within(place, found.st_mtime_ns) if place.is_dir() else found.st_size
    except OSError:
        return 0


@lru_cache(4096)
def _size_within(folder: Path, changed: int) -> int:
    with os.scandir(folder) as entries:
        return sum(entry.stat().st_size for entry in entries if entry.is_file())


class NumberedPictures:
    """The pictures of one video, decoded one by one.

    Args:
        path: a folder, or ``folder/img_*.jpg``.

    Raises:
        VideoError: no pictures with numbers there, or several kinds of them.
    """

    durations: tuple[int, ...] = ()  # nobody says

    def __init__(self, path: str) -> None:
        self.path = path
        folder = on_disk(path)
        try:
            names = os.listdir(folder)
        except OSError as error:
            raise VideoError(path, f"cannot be read ({(error.strerror or str(error)).lower()})") from None
        found = sequences(names)
        if folder != Path(path):
            found = [each for each in found if each.pattern == os.path.basename(path)]
        if not found:
            raise VideoError(path, "a folder without numbered pictures")
        if len(found) > 1:
            kinds = ", ".join(each.pattern for each in found[:3])
            raise VideoError(path, f"pictures of several names ({kinds}); name one of them in the list")
        self.sequence = found[0]
        self._folder = folder

    def __len__(self) -> int:
        return len(self.sequence.names)

    def file(self, i: int) -> Path:
        """Where picture ``i`` lies."""
        return self._folder / self.sequence.names[i]

    def frame(self, i: int) -> VideoFrame:
        """Picture ``i``. Raises VideoError where it cannot be read or decoded."""
        name = self.sequence.names[i]
        try:
            data = self.file(i).read_bytes()
        except OSError as error:
            raise VideoError(self.path, f"{name} cannot be read ({(error.strerror or str(error)).lower()})") from None
        try:
            return decode_picture(data)
        except ValueError as error:
            raise VideoError(self.path, f"{name} cannot be decoded ({error})") from None

    def close(self) -> None:
        """Nothing is kept open."""


def decode_picture(data: bytes) -> VideoFrame:
    """One picture as a frame of video. Raises ValueError, with the reason, where it cannot be decoded."""
    import av

    codec = "webp" if data[8:12] == b"WEBP" else next((c for head, c in _CODECS.items() if data.startswith(head)), "")
    if not codec:
        raise ValueError("no picture of a known kind" if data else "an empty file")
    try:
        context = cast("VideoCodecContext", av.CodecContext.create(codec, "r"))
        context.options = {"max_pixels": str(MAX_PIXELS)}
        context.thread_type, context.thread_count = "NONE", 1
        frames = [*context.decode(av.Packet(data)), *context.decode(None)]
    except (av.FFmpegError, OSError) as error:
        raise ValueError(words(error)) from None
    if not frames:
        raise ValueError("no picture in it")
    frame = frames[0]
    if max(frame.width, frame.height) > MAX_SIDE:
        raise ValueError(f"{frame.width}×{frame.height} pixels")
    return frame
