"""The part of indexing that takes the time: the videos whose vectors are not there are decoded, embedded, and kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cacl.data.remote.place import file_at, remote_stamp
from cacl.data.remote.servers import is_url
from cacl.data.videos.catalog import Catalog
from cacl.data.videos.dataset import open_videos
from cacl.data.videos.passing import CHANGED
from cacl.data.videos.resampled import resampled
from cacl.errors import VideoError
from cacl.evaluation.video_vectors import VideoVectors, video_spans, video_vectors
from cacl.indexing.changes import Entry
from cacl.indexing.journal import Piece, write_part
from cacl.indexing.known import Looked
from cacl.indexing.layout import Stamp, stamp_of
from cacl.indexing.previews import moving_pictures, write_previews
from cacl.models.clip_encoder import ClipEncoder

PART, SECONDS = 4096, 60.0  # a part is kept after so many vectors, or so long: what a kill can cost
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Work:
    """What is to be done, and how.

    Attributes:
        index: the folder, for previews.
        parts: where what was done is kept.
        request: digest of what the vectors depend on.
        encoder: on its device.
        step, dtype: as of ``video_vectors``.
        previews: whether to make them.
    """

    index: Path
    parts: Path
    request: str
    encoder: ClipEncoder
    step: int | None
    dtype: torch.dtype | None
    previews: bool


@dataclass(frozen=True)
class Speed:
    """What was embedded, and how fast.

    Attributes:
        videos: that have vectors now.
        failed: path -> why, of those that have none.
        hours: of the former.
        seconds: that it took.
    """

    videos: int
    failed: Mapping[str, str]
    hours: float
    seconds: float

    @classmethod
    def of(cls, entries: Sequence[Entry], failed: Mapping[str, str], *, seconds: float) -> Speed:
        """``failed``: by key, why some of the entries were not embedded."""
        good = [entry.video for entry in entries if entry.key not in failed]
        hours = sum(video.frames / video.fps for video in good if video.fps > 0) / 3600
        why = {entry.video.path: failed[entry.key] for entry in entries if entry.key in failed}
        return cls(len(good), why, hours, seconds)

    def __str__(self) -> str:
        rate = 60 * self.hours / self.seconds if self.seconds else 0.0
        return f"{60 * self.hours:.1f} minutes of video in {self.seconds:.0f} s: {rate:.1f} hours of video a minute."


def embed_entries(
    root: Path,
    entries: Sequence[Entry],
    work: Work,
    looked: Mapping[str, Looked],
    *,
    say: Callable[[str], None],
    progress: Progress,
) -> Speed:
    """Embed videos, part by part.

    Args:
        root: the folder of videos.
        entries: which of them.
        looked: what was found in files, kept with the first part.
        say: told what is unusual.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Raises:
        UserError: something cannot be written.
    """
    clip, began = work.encoder.clip, time.monotonic()
    catalog = Catalog(root, tuple(entry.video for entry in entries), (), clip.blank)
    data = resampled(open_videos(catalog, resize=clip.resize, rules=clip.rules), clip.frame_rate, say=say)
    skipped, told = dict[int, str](), set[int]()
    stamps = [looked[entry.video.path].stamp for entry in entries]
    made, failed, kept = dict[str, Piece](), dict[str, str](), dict(looked)
    last = began

    def look(number: int, clips_NTHWC: NDArray[np.uint8]) -> list[bytes]:
        video = data.catalog.videos[number]
        seconds = clip.frames * clip.stride / video.fps if video.fps > 0 else 0.0
        return moving_pictures(clips_NTHWC, entries[number].video, seconds=seconds)

    def keep() -> None:
        nonlocal last
        for number in skipped.keys() - told:
            failed[entries[number].key] = skipped[number]
            told.add(number)
        if made or failed or kept:
            write_part(work.parts, request=work.request, made=made, failed=failed, looked=kept)
        for done in (made, failed, kept):
            done.clear()
        last = time.monotonic()

    def take(one: VideoVectors) -> None:
        entry = entries[one.number]
        if not np.isfinite(one.segments.vector).all():
            skipped[one.number] = "its vectors are not finite numbers"
            return
        if _stamp_now(file_at(root, entry.video.path)) != stamps[one.number]:
            skipped[one.number] = f"it is not what it was {CHANGED}"
            return
        if work.previews:
            write_previews(work.index, entry.key, one.looks)
        frames, seconds = video_spans(data, one.number, one.segments, timed=True)
        made[entry.key] = Piece(one.segments.vector, frames, seconds, one.problem)

    keep()
    for one in video_vectors(
        work.encoder,
        data,
        skipped=skipped,
        step=work.step,
        autocast_dtype=work.dtype,
        look=look if work.previews else None,
        progress=lambda done: progress("videos embedded", done, len(entries)),
    ):
        take(one)
        if sum(len(piece.frames) for piece in made.values()) >= PART or time.monotonic() - last > SECONDS:
            keep()
    keep()
    bad = {entries[number].key: reason for number, reason in skipped.items()}
    return Speed.of(entries, bad, seconds=time.monotonic() - began)


def _stamp_now(file: Path) -> Stamp | None:
    """Of the file as it is; a server is asked again."""
    if not is_url(file):
        return stamp_of(file)
    try:
        return remote_stamp(str(file), within=0.0)
    except VideoError:
        return None
