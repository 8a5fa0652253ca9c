"""How a decode process reads frames: from files that it keeps open, with what it learnt of them.

One call at a time in each process (``isolated.py``). A file that was changed since is opened anew.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import closing
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.any_video import AnyVideo, open_video
from cacl.data.media.colours import PixelRules
from cacl.data.media.cut import WHOLE, Cut
from cacl.data.media.outputs import Outputs
from cacl.data.media.pictures import is_pictures, on_disk
from cacl.data.media.stacks import is_stack
from cacl.data.media.survey import first_look
from cacl.data.media.timeline import Timeline
from cacl.data.remote.place import remote_stamp
from cacl.data.remote.servers import is_url
from cacl.errors import VideoError

Stamp = tuple[int, int, int]  # changes when the file does

_OPEN_FILES = 16
_TRUSTED = 60.0  # seconds that what a server said of a file is taken to hold
_KEPT_TIMELINES = 4096  # some kilobytes each
_open: OrderedDict[str, tuple[Stamp, AnyVideo]] = OrderedDict()
_timelines: OrderedDict[str, tuple[Stamp, Timeline]] = OrderedDict()


def read_frames(
    path: str,
    indices_T: NDArray[np.int64],
    *,
    height: int,
    width: int,
    at_least: int,
    rules: PixelRules,
    known: tuple[Stamp, Timeline] | None,
    cut: Cut = WHOLE,
) -> tuple[NDArray[np.uint8], tuple[Stamp, Timeline] | None]:
    """Frames of a file, uint8 RGB ``[T, height, width, 3]``, and its timeline when that was costly to learn.

    Args:
        path: the file.
        indices_T: frame numbers from 0.
        height: pixels.
        width: pixels.
        at_least: frames that the file must have.
        rules: how its pixels become RGB.
        known: what an earlier call gave for this file.
        cut: the part of each frame that is seen.

    Raises:
        VideoError: it cannot be decoded, or has fewer frames than it must.
    """
    held, before = _open.pop(path, None), _timelines.get(path) or known
    stamp = stamp_of(path) if held is not None or not is_url(path) else remote_stamp(path, within=0.0)
    timeline = before[1] if before is not None and before[0] == stamp else None
    if held is not None and held[0] != stamp:
        held[1].close()
        held = None
    decoder = open_video(path, timeline=timeline) if held is None else held[1]
    decoder.rules = rules
    _keep(path, stamp, decoder)
    if at_least > decoder.frames:
        raise VideoError(path, f"has {decoder.frames} frames, {at_least} when it was looked at first")
    try:
        frames = decoder.read(indices_T, height=height, width=width, cut=cut)
    except VideoError:
        if is_url(path):  # where the connection broke, FFmpeg is somewhere
            _open.pop(path)[1].close()
        raise
    costly = not decoder.timeline.from_packets or is_url(path)
    learnt = timeline is None and held is None and costly
    return frames, (stamp, decoder.timeline) if learnt else None


def frame_seconds(path: str) -> NDArray[np.float64]:
    """When each frame of a file is shown, and when the last one ends, seconds; NaN where it says nothing of time.

    Raises:
        VideoError: it cannot be decoded.
    """
    held = _open.get(path)
    if held is not None and held[0] == stamp_of(path):
        return held[1].seconds
    with open_video(path) as decoder:
        return decoder.seconds


def longest_lead(path: str) -> int | None:
    """Of how many frames at most one needs those before it to be decoded; None: all must be, to know what there is.

    Raises:
        VideoError: it cannot be read.
    """
    if is_pictures(path) or is_stack(path):
        return 0
    stamp, before = stamp_of(path), _timelines.get(path)
    timeline = before[1] if before is not None and before[0] == stamp else None
    if timeline is None:
        with closing(Outputs(path)) as outputs:
            first, stated = first_look(outputs)
        if stated is None:
            return None
        timeline = replace(stated, first=first)
        _timelines[path] = stamp, timeline  # who reads the file here next need not look again
    return int(np.diff(timeline.keys, append=timeline.frames).max()) if timeline.from_packets else None


def stamp_of(path: str) -> Stamp:
    """Which file this is and in which state. Raises VideoError where it is gone."""
    if is_url(path):
        return remote_stamp(path, within=_TRUSTED)
    try:
        found = os.stat(on_disk(path))
    except OSError as error:
        raise VideoError(path, f"cannot be opened as a video ({(error.strerror or str(error)).lower()})") from None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _keep(path: str, stamp: Stamp, decoder: AnyVideo) -> None:
    _open[path] = stamp, decoder
    if len(_open) > _OPEN_FILES:
        _open.popitem(last=False)[1][1].close()
    _timelines[path] = stamp, decoder.timeline
    _timelines.move_to_end(path)
    if len(_timelines) > _KEPT_TIMELINES:
        _timelines.popitem(last=False)
