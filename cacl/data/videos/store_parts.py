"""Part of a frame store: some consecutive videos, decoded, packed into one file, with a note of what went wrong.

A part depends on its videos alone, so that any number of processes makes the same store, and a part that is finished
is never made again.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Literal, TypedDict

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.any_video import AnyVideo, open_video
from cacl.data.media.colours import AS_CODED, PixelRules
from cacl.data.media.cut import Box, Cut
from cacl.data.media.isolated import SECONDS, LostVideo, isolated, time_limit
from cacl.data.media.notes import notes
from cacl.data.media.picture_video import PictureVideo
from cacl.data.remote.place import file_at
from cacl.data.videos.catalog import Skipped, Video, judged
from cacl.errors import VideoError

Kind = Literal["jpeg", "raw"]
_EVENLY = 0.002  # seconds; timestamps in milliseconds are not more uneven
_BLOCK = 64  # frames read at once from the middle of a file


@dataclass(frozen=True)
class PartPlan:
    """What one process needs to make one part."""

    number: int
    root: Path
    folder: Path
    videos: tuple[Video, ...]
    height: int
    width: int
    kind: Kind
    quality: int
    rules: PixelRules = AS_CODED
    blank: tuple[Box, ...] = ()

    @property
    def data(self) -> Path:
        """The packed frames."""
        return self.folder / f"part-{self.number:06d}.bin"

    @property
    def facts(self) -> Path:
        """Sizes and problems; there once the part is complete."""
        return self.folder / f"part-{self.number:06d}.json"


@dataclass(frozen=True)
class PartFacts:
    """What a finished part holds.

    Attributes:
        frames: frames of each video.
        problems: why each video ended early, or an empty string.
        sizes: bytes of each frame, those of the first video first.
        notes: what is unusual about each video's file.
        times: when each frame of a video is shown and when the last one ends, seconds; empty where they are evenly
            spaced.
    """

    frames: list[int]
    problems: list[str]
    sizes: list[int]
    notes: list[str]
    times: list[list[float]]

    @classmethod
    def read(cls, path: Path) -> PartFacts:
        """Read what ``make_part`` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        count = len(found["frames"])
        return cls(**{"notes": [""] * count, "times": [[]] * count, **found})


def make(plan: PartPlan) -> None:
    """Make a part in a decode process; where that is lost, file by file, and name the one that it was lost over."""
    files = [tuple(videos) for _, videos in groupby(plan.videos, key=lambda video: video.path)]
    seconds = SECONDS + sum(time_limit(file_at(plan.root, videos[0].path)) - SECONDS for videos in files)
    try:
        return isolated(str(plan.folder), seconds, make_part, plan)
    except LostVideo as error:
        if len(files) == 1:
            return fail_part(plan, error.reason)
    folder = plan.folder / f"part-{plan.number:06d}-alone.{_mine()}.tmp"
    folder.mkdir(exist_ok=True)
    pieces = [replace(plan, number=i, folder=folder, videos=videos) for i, videos in enumerate(files)]
    for piece in pieces:
        make(piece)
    facts = [PartFacts.read(piece.facts) for piece in pieces]
    together = folder / plan.data.name
    with together.open("wb") as file:
        for piece in pieces:
            file.write(piece.data.read_bytes())
    together.replace(plan.data)
    shutil.rmtree(folder)
    names = [field.name for field in fields(PartFacts)]
    joined = {name: [x for f in facts for x in getattr(f, name)] for name in names}
    write_json(plan.facts, joined)


def make_part(plan: PartPlan) -> None:
    """Decode the videos of one part and write it; a video that breaks is cut there, one that fails has no frames.

    A file is opened once for all of its videos, and a frame that several of them have is decoded once.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    facts = PartFacts([], [], [], [], [])
    unfinished = _unfinished(plan.data)
    with unfinished.open("w+b") as file:
        for path, videos in groupby(plan.videos, key=lambda video: video.path):
            _write_file(plan, path, list(videos), file, facts)
        _sync(file)
    unfinished.replace(plan.data)
    write_json(plan.facts, asdict(facts))


def _write_file(plan: PartPlan, path: str, videos: Sequence[Video], file: BinaryIO, facts: PartFacts) -> None:
    """Write the frames of all videos of one file behind what is there, and note what became of each."""
    try:
        with open_video(file_at(plan.root, path), rules=plan.rules) as decoder:
            of_region = {
                region: _Source(decoder, plan, [video for video in videos if video.region == region], region)
                for region in {video.region for video in videos}
            }
            for video in videos:
                _write_video(plan, video, of_region[video.region], file, facts)
    except VideoError as error:  # it cannot be opened
        for _ in videos:
            facts.frames.append(0)
            facts.problems.append(error.reason)
            facts.notes.append("")
            facts.times.append([])


def result_of(video: Video, frames: int, problem: str, note: str) -> Video | Skipped:
    """What became of a video: as it was, cut, or left out."""
    if frames == video.frames and not problem:
        return video
    if frames == 0:
        return Skipped(video.path, problem or "no frame can be decoded")
    return judged(replace(video, note=note), frames=frames, problem=problem)


def fail_part(plan: PartPlan, problem: str) -> None:
    """Write a part whose videos could not be read at all."""
    plan.data.write_bytes(b"")
    count = len(plan.videos)
    write_json(plan.facts, asdict(PartFacts([0] * count, [problem] * count, [], [""] * count, [[]] * count)))


def write_json(path: Path, content: object) -> None:
    """Write a file so that it is there completely or not at all."""
    unfinished = _unfinished(path)
    with unfinished.open("wb") as file:
        file.write(json.dumps(content).encode())
        _sync(file)
    unfinished.replace(path)


def _unfinished(path: Path) -> Path:
    """A name that no other process writes to: one whose parent was killed may not have noticed yet."""
    return path.with_name(f"{path.name}.{_mine()}.tmp")


def _mine() -> str:
    """A word that no other process has, of this machine or another on the same disk."""
    return f"{platform.node()}-{os.getpid()}"


class _Size(TypedDict):
    height: int
    width: int
    cut: Cut


class _Source:
    """The frames of one file, each decoded once, whatever the videos share.

    Args:
        videos: which of its frames are needed.
        region: the part of each frame that is seen.
    """

    def __init__(self, decoder: AnyVideo, plan: PartPlan, videos: Sequence[Video], region: Box | None) -> None:
        self.frames = decoder.frames
        self.written: dict[int, tuple[int, int]] = {}  # place and size of a frame in the part's file
        self._decoder = decoder
        self._size: _Size = {"height": plan.height, "width": plan.width, "cut": Cut(region, plan.blank)}
        spans = [np.arange(v.first_frame, min(v.first_frame + v.frames, decoder.frames)) for v in videos]
        self._needed = np.unique(np.concatenate(spans))
        self._all = len(videos) == 1 and len(self._needed) == decoder.frames
        self._block: dict[int, NDArray[np.uint8]] = {}
        self._damaged = False

    def of(self, video: Video) -> Iterator[tuple[int, NDArray[np.uint8] | None]]:
        """Number and pixels of every frame of a video in order, ``None`` for one that is written already.

        Raises:
            VideoError: behind the last good one, where a frame cannot be decoded.
        """
        if self._all:
            yield from enumerate(self._decoder.iterate(**self._size))
            return
        for i in range(video.first_frame, min(video.first_frame + video.frames, self.frames)):
            yield i, None if i in self.written else self._read(i)

    def notes(self, video: Video) -> str:
        """What is unusual about the frames of a video; of a file that was read whole, as it turned out."""
        if isinstance(self._decoder, PictureVideo):
            return ""
        return "; ".join(notes(self._decoder.timeline, video.first_frame, min(video.frames, self._decoder.frames)))

    def times(self, video: Video, frames: int) -> list[float]:
        """When the first ``frames`` frames of a video are shown, and when the last one ends, in seconds of its file.

        Empty where its rate says the same, counted from the first frame of the file.
        """
        seconds = self._decoder.seconds[video.first_frame : video.first_frame + frames + 1]
        if np.isnan(seconds).any():
            return []
        begin = video.first_frame / video.fps if video.fps > 0 else 0.0
        even = np.linspace(begin, begin + seconds[-1] - seconds[0], len(seconds))
        return [] if np.abs(seconds - even).max() < _EVENLY else [round(second, 6) for second in seconds.tolist()]

    def _read(self, frame: int) -> NDArray[np.uint8]:
        if frame not in self._block:
            at = int(np.searchsorted(self._needed, frame))
            block = [i for i in self._needed[at : at + _BLOCK].tolist() if i not in self.written]
            try:
                self._block = self._decoded(block)
            except VideoError:
                if not self._damaged:
                    self._damaged = True
                    self._decoder.verify()  # from then on it knows what cannot be had
                self._block = self._decoded([frame])  # up to the very frame that fails
        return self._block[frame]

    def _decoded(self, numbers: list[int]) -> dict[int, NDArray[np.uint8]]:
        there = [i for i in numbers if i < self._decoder.frames]
        if not there:
            raise VideoError(self._decoder.path, self._decoder.timeline.broken or "it ends before")
        return dict(zip(there, self._decoder.read(there, **self._size), strict=True))


def _write_video(plan: PartPlan, video: Video, source: _Source, file: BinaryIO, facts: PartFacts) -> None:
    """Write one video; what is too short to be used is taken back."""
    before, begin, problem = len(facts.sizes), file.tell(), ""
    try:
        for i, pixels in source.of(video):
            place = file.tell()
            size = _copy(file, *source.written[i]) if pixels is None else _pack(pixels, file, plan)
            source.written.setdefault(i, (place, size))
            facts.sizes.append(size)
    except VideoError as error:
        problem = error.reason
    frames = len(facts.sizes) - before
    verdict = judged(video, frames=frames, problem=problem)
    if problem and isinstance(verdict, Skipped):
        file.seek(begin)  # too little of it is good: leave it out
        file.truncate()
        del facts.sizes[before:]
        source.written = {i: (place, size) for i, (place, size) in source.written.items() if place < begin}
        frames, problem = 0, verdict.reason
    facts.frames.append(frames)
    facts.problems.append(problem)
    facts.notes.append(source.notes(video))
    facts.times.append(source.times(video, frames) if frames else [])


def _copy(file: BinaryIO, place: int, size: int) -> int:
    """Write once more what lies at another place of the file."""
    end = file.tell()
    file.seek(place)
    packed = file.read(size)
    file.seek(end)
    return file.write(packed)


def _pack(frame_HWC: NDArray[np.uint8], file: BinaryIO, plan: PartPlan) -> int:
    pixels = np.ascontiguousarray(frame_HWC)
    if plan.kind == "raw":
        return file.write(pixels.data)
    import simplejpeg

    return file.write(simplejpeg.encode_jpeg(pixels, plan.quality, "RGB", "420"))


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
