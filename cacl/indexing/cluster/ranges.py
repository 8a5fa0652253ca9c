"""A long video cut into ranges, so that one file keeps many workers busy; their vectors joined are those of the whole.

A range is a part of the video, as a list may name parts: some thousand windows of it, from where the whole video's
windows are. Windows are computed in sixteens, counted from the first, so that a range begins with a full one. And
frames do not depend on where decoding begins: one process too reads the sixteens of a video by several decoders, each
from the last keyframe before. A video of which a range meets damage is read whole, and its ranges are not used.

Shapes: S windows of a video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cacl.data.media.isolated import isolated, time_limit
from cacl.data.media.open_files import longest_lead
from cacl.data.remote.place import file_at
from cacl.errors import VideoError
from cacl.indexing.changes import Entry
from cacl.indexing.journal import Piece
from cacl.indexing.previews import preview_file, read_previews, write_previews
from cacl.models.encoder import ClipSpec
from cacl.models.segments import segment_windows

LENGTH = 1024  # windows, of some minutes of video: about what a part holds; and whole sixteens
_LEAD = 1000  # frames; of a video with fewer keyframes the beginnings of ranges would be most of the work


def ranges_of(entry: Entry, clip: ClipSpec, step: int | None) -> list[Entry]:
    """The ranges of a video, each as a video of its own; none where it is not cut.

    Args:
        entry: the video. It is cut if it has windows for two ranges.
        clip: as of the encoder; frames that are chosen by a rate are counted from the video's first, so it is not cut.
        step: frames from one window to the next; ``None``: a whole window. Below the stride the end of a range would
            have one window more.
    """
    video = entry.video
    if clip.frame_rate is not None or (step or clip.stride) < clip.stride or video.frames < 2 * LENGTH:
        return []
    _, start_S, stop_S = segment_windows(video.frames, frames=clip.frames, stride=clip.stride, step=step)
    count = len(start_S) // LENGTH  # what is left over belongs to the last
    if count < 2:
        return []
    begins = [int(start_S[number * LENGTH]) for number in range(count)]
    ends = [int(stop_S[(number + 1) * LENGTH - 1]) for number in range(count - 1)] + [video.frames]
    return [
        Entry(f"{entry.key}@{begin}-{end}", replace(video, first_frame=video.first_frame + begin, frames=end - begin))
        for begin, end in zip(begins, ends, strict=True)
    ]


def may_be_read(root: Path, entry: Entry) -> bool:
    """Whether an entry is no range, or one of a file that can be entered in the middle."""
    if "@" not in entry.key:
        return True
    file = str(file_at(root, entry.video.path))
    try:
        lead = isolated(file, time_limit(file), longest_lead, file)
    except VideoError:
        return False
    return lead is not None and lead <= _LEAD


def joined_ranges(
    index: Path, entry: Entry, ranges: Sequence[Entry], made: Mapping[str, Piece], *, previews: bool
) -> Piece | None:
    """The stretches of a video that was cut, and its previews written; ``None`` where it has to be read whole.

    Args:
        index: the folder.
        entry: the video.
        ranges: as of ``ranges_of``.
        made: what was made of them.
        previews: whether they have previews.

    Raises:
        UserError: the previews cannot be written.
    """
    pieces = [made[one.key] for one in ranges if one.key in made and not made[one.key].problem]
    if len(pieces) < len(ranges):
        return None
    if previews:
        pictures = [picture for one in ranges for picture in read_previews(index, one.key)]
        if len(pictures) != sum(len(piece.frames) for piece in pieces):
            return None
        write_previews(index, entry.key, pictures)
    return Piece(
        np.concatenate([piece.vectors for piece in pieces]),
        np.concatenate([piece.frames for piece in pieces]),
        np.concatenate([piece.seconds for piece in pieces]),
    )


def forget_previews(index: Path, ranges: Sequence[Entry]) -> None:
    """Remove the previews of ranges: they are in those of their video."""
    for one in ranges:
        preview_file(index, one.key).unlink(missing_ok=True)
