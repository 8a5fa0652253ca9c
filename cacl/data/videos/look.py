"""One file, or one folder of pictures, opened: its parts as videos, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cacl.data.media.any_video import AnyVideo, open_video
from cacl.data.media.cut import fits
from cacl.data.media.isolated import isolated, time_limit
from cacl.data.media.notes import notes
from cacl.data.media.picture_video import PictureVideo
from cacl.data.media.pictures import NumberedPictures
from cacl.data.remote.place import file_at
from cacl.data.remote.servers import is_url
from cacl.data.videos.catalog import Skipped, Video, judged
from cacl.data.videos.lists.entry import Entry
from cacl.data.videos.walk import why_no_video
from cacl.errors import VideoError, counted

_TAKEN, _WHEN = 0x8769, 36867  # Exif: where the camera's facts are, and the moment of the exposure
_SLOW = 1.5  # seconds from one exposure to the next


class Look(Protocol):
    """What opens one file: ``look``, or something that remembers what it found."""

    def __call__(
        self, root: Path, path: str, entries: Sequence[Entry], *, deep: bool, rate: float, named: bool
    ) -> list[Video | Skipped]:
        """See ``look``."""


def look(
    root: Path, path: str, entries: Sequence[Entry], *, deep: bool, rate: float, named: bool
) -> list[Video | Skipped]:
    """Open one file in a decode process: a file that is the end of it is skipped; none that begins like no video.

    Args:
        root: the folder of videos.
        path: the file below it, or a folder of pictures.
        entries: its parts; one that says nothing for the whole of it.
        deep: decode all of it.
        rate: frames a second of pictures, where nothing says it; 0: unknown.
        named: a list names it, so pictures are frames whatever they look like.
    """
    file = file_at(root, path)
    if not is_url(file) and file.is_file() and (no_video := why_no_video(file)):
        return [Skipped(path, no_video)]
    try:
        return isolated(path, time_limit(file), _look, root, path, entries, deep=deep, rate=rate, named=named)
    except VideoError as error:
        return [Skipped(path, error.reason)]


def _look(
    root: Path, path: str, entries: Sequence[Entry], *, deep: bool, rate: float, named: bool
) -> list[Video | Skipped]:
    rate = next((entry.fps for entry in entries if entry.fps), rate)
    try:
        with open_video(file_at(root, path), rate=rate) as decoder:
            if reason := "" if named else _why_no_frames(decoder):
                return [Skipped(path, reason)]
            if deep:
                decoder.verify()
            return [_part(decoder, path, entry) for entry in entries]
    except VideoError as error:
        return [Skipped(path, error.reason)]


def _part(decoder: AnyVideo, path: str, entry: Entry) -> Video | Skipped:
    """One entry of a list as a video."""
    timeline, info, region = decoder.timeline, decoder.info, entry.region
    if region is not None and not fits(region, width=info.width, height=info.height):
        box = ",".join(map(str, region))
        return Skipped(path, f"its region {box} is not inside its {info.width}×{info.height} pixels")
    is_part = entry.start > 0 or entry.end is not None
    first, frames = decoder.span(entry.start, entry.end) if is_part else (0, timeline.frames)
    if not frames:
        end = "the end" if entry.end is None else f"{entry.end:g} s"
        return Skipped(path, f"no frame between {entry.start:g} s and {end}")
    name = f"{path}@{first}-{first + frames}" if is_part else path
    labels = tuple(dict.fromkeys(_as_folder(path, label) for label in entry.labels))
    video = Video(
        path,
        name if region is None else f"{name}#{','.join(map(str, region))}",
        labels[0] if len(labels) == 1 else None,
        entry.split,
        frames,
        decoder.rate(first, frames),
        info.width if region is None else region[2],
        info.height if region is None else region[3],
        first,
        several=labels if len(labels) > 1 else (),
        region=region,
    )
    found = judged(video, frames=frames, problem=timeline.broken if first + frames == timeline.frames else "")
    said = "; ".join(filter(None, [_about_pictures(decoder), *_about_file(decoder, first, frames)]))
    return found if isinstance(found, Skipped) else found.noted(said)


def _about_file(decoder: AnyVideo, first: int, frames: int) -> list[str]:
    """What is unusual about the frames of a file."""
    return [] if isinstance(decoder, PictureVideo) else notes(decoder.timeline, first, frames)


def _about_pictures(decoder: AnyVideo) -> str:
    """What is worth knowing of a row of pictures, or an empty string."""
    if not isinstance(decoder, PictureVideo):
        return ""
    rate = "" if decoder.info.fps else ", frames a second not known"
    if not isinstance(decoder.pictures, NumberedPictures):
        return f"{counted(decoder.frames, 'page')}{rate}" if rate else ""
    sequence = decoder.pictures.sequence
    gaps = f", {sequence.gaps}" if sequence.gaps else ""
    return f"{counted(len(sequence.names), 'picture')} {sequence.pattern}{rate}{gaps}"


def _why_no_frames(decoder: AnyVideo) -> str:
    """Why a folder of numbered pictures that no list names is no video, as far as some of them tell."""
    if not isinstance(decoder, PictureVideo) or not isinstance(decoder.pictures, NumberedPictures):
        return ""
    pictures, count = decoder.pictures, len(decoder.pictures)
    some = sorted({0, 1, count // 2, count // 2 + 1, count - 1} & set(range(count)))
    sizes = {(frame.width, frame.height) for frame in map(pictures.frame, some)}
    photos = f"{counted(count, 'photo')} {pictures.sequence.pattern}, not the frames of a video"
    use = "name the folder in videos.csv to use them"
    if len(sizes) > 1:
        (w, h), (w2, h2) = sorted(sizes)[:2]
        return f"{photos} ({w}×{h} and {w2}×{h2} pixels); {use}"
    first, second = (_taken(pictures, i) for i in (0, 1))
    if first and second and (apart := abs((second - first).total_seconds())) > _SLOW:
        return f"{photos} (taken {apart:.0f} s apart); {use}"
    return ""


def _taken(pictures: NumberedPictures, i: int) -> datetime | None:
    """When a camera took a picture, if it says so."""
    from PIL import Image

    try:
        with Image.open(pictures.file(i)) as image:
            return datetime.strptime(str(image.getexif().get_ifd(_TAKEN)[_WHEN]), "%Y:%m:%d %H:%M:%S")
    except Exception:  # anything may stand there: then it says nothing
        return None


def _as_folder(path: str, label: str) -> str:
    """The label in the spelling of the video's own folder: UCF101's lists and names differ in capital letters."""
    folder = path.split("/")[-2] if "/" in path else ""
    return folder if folder.casefold() == label.casefold() else label
