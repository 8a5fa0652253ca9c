"""Part of a frame store: some consecutive videos, decoded, packed into one file, with a note of what went wrong.

A part depends on its videos alone, so that any number of processes makes the same store, and a part that is finished
is never made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.colours import AS_CODED, PixelRules
from cacl.data.media.decode import VideoDecoder
from cacl.data.media.notes import notes
from cacl.data.videos.catalog import Skipped, Video, judged
from cacl.errors import VideoError

Kind = Literal["jpeg", "raw"]
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
    """

    frames: list[int]
    problems: list[str]
    sizes: list[int]
    notes: list[str]

    @classmethod
    def read(cls, path: Path) -> PartFacts:
        """Read what ``make_part`` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{"notes": [""] * len(found["frames"]), **found})


def make_part(plan: PartPlan) -> None:
    """Decode the videos of one part and write it; a video that breaks is cut there, one that fails has no frames.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    frames: list[int] = []
    problems: list[str] = []
    sizes: list[int] = []
    unusual: list[str] = []
    unfinished = _unfinished(plan.data)
    with unfinished.open("wb") as file:
        for video in plan.videos:
            before = len(sizes)
            problem, found = "", list[str]()
            try:
                for frame in _frames(plan, video, found):
                    sizes.append(_pack(frame, file, plan))
            except VideoError as error:
                problem = error.reason
            frames.append(len(sizes) - before)
            verdict = judged(video, frames=frames[-1], problem=problem)
            if problem and isinstance(verdict, Skipped):
                file.seek(-sum(sizes[before:]), os.SEEK_CUR)  # too little of it is good: leave it out
                file.truncate()
                del sizes[before:]
                frames[-1], problem = 0, verdict.reason
            problems.append(problem)
            unusual.append("; ".join(found))
        _sync(file)
    unfinished.replace(plan.data)
    write_json(plan.facts, asdict(PartFacts(frames, problems, sizes, unusual)))


def fail_part(plan: PartPlan, problem: str) -> None:
    """Write a part whose videos could not be read at all."""
    plan.data.write_bytes(b"")
    count = len(plan.videos)
    write_json(plan.facts, asdict(PartFacts([0] * count, [problem] * count, [], [""] * count)))


def write_json(path: Path, content: object) -> None:
    """Write a file so that it is there completely or not at all."""
    unfinished = _unfinished(path)
    with unfinished.open("wb") as file:
        file.write(json.dumps(content).encode())
        _sync(file)
    unfinished.replace(path)


def _unfinished(path: Path) -> Path:
    """A name that no other process writes to: one whose parent was killed may not have noticed yet."""
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def _frames(plan: PartPlan, video: Video, found: list[str]) -> Iterator[NDArray[np.uint8]]:
    """The frames of a video, or of its part of a file, in order; what is unusual goes to ``found``."""
    with VideoDecoder(plan.root / video.path, rules=plan.rules) as decoder:
        if video.first_frame == 0 and video.frames >= decoder.frames:
            try:
                yield from decoder.iterate(height=plan.height, width=plan.width)
            finally:
                found += notes(decoder.timeline, 0, decoder.frames)
            return
        found += notes(decoder.timeline, video.first_frame, video.frames)
        end = min(video.first_frame + video.frames, decoder.frames)
        for start in range(video.first_frame, end, _BLOCK):
            yield from _block(decoder, start, min(start + _BLOCK, end), plan)


def _block(decoder: VideoDecoder, start: int, end: int, plan: PartPlan) -> Iterator[NDArray[np.uint8]]:
    try:
        yield from decoder.read(range(start, end), height=plan.height, width=plan.width)
    except VideoError:
        for i in range(start, end):  # up to the very frame that fails
            yield decoder.read([i], height=plan.height, width=plan.width)[0]


def _pack(frame_HWC: NDArray[np.uint8], file: BinaryIO, plan: PartPlan) -> int:
    pixels = np.ascontiguousarray(frame_HWC)
    if plan.kind == "raw":
        return file.write(pixels.data)
    import simplejpeg

    return file.write(simplejpeg.encode_jpeg(pixels, plan.quality, "RGB", "420"))


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
