"""Exactly the frames asked for, out of any video file that FFmpeg reads.

Frame i is the i-th frame that a full decode in presentation order yields. It is found by its timestamp: seek to the
last keyframe before it, decode from there, and skip what nobody asked for. Whatever comes out wrong after a seek is
decoded again from the beginning. Frames come out upright, as a player shows them.

Legend: T frames, H height and W width in pixels, C = 3 colours (RGB).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.clock import frames_between, rate_between
from cacl.data.media.colours import AS_CODED, PixelRules
from cacl.data.media.cut import WHOLE, Cut
from cacl.data.media.outputs import Outputs
from cacl.data.media.pixels import refusals, rgb
from cacl.data.media.stream import words
from cacl.data.media.survey import cut_off, first_look, survey
from cacl.data.media.timeline import Timeline, check_sum
from cacl.errors import VideoError

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

Numbers = Sequence[int] | NDArray[np.int64]
_SKIPPABLE = frozenset({"h264", "hevc"})  # codecs whose unreferenced frames are worth leaving out
_NEAR = 8  # frames; a keyframe nearer than this is not worth a seek
_ATTEMPTS = (0, 2, None)  # where to enter: the nearest keyframe, two keyframes earlier, the beginning of the file


@dataclass(frozen=True)
class VideoInfo:
    """What one video file holds.

    Attributes:
        frames: frames that a full decode in presentation order yields.
        fps: average frames a second; 0 when the file does not say.
        width: pixels, as shown (after rotation).
        height: pixels, as shown.
        rotation: in °, by which the stored frames are turned clockwise to be shown: 0, 90, 180 or 270.
        codec: FFmpeg's name of the codec.
    """

    frames: int
    fps: float
    width: int
    height: int
    rotation: int
    codec: str


class VideoDecoder:
    """Random access to the frames of one video file. Not for several threads at once; close it, or use ``with``.

    Args:
        path: the video file.
        timeline: the ``timeline`` of an earlier decoder of the same unchanged file: saves reading its packets and
            decoding its first frame again.
        rules: how its pixels become RGB.

    Raises:
        VideoError: the file cannot be read, or holds no video.
    """

    def __init__(self, path: str | Path, *, timeline: Timeline | None = None, rules: PixelRules = AS_CODED) -> None:
        self.path = str(path)
        self.rules = rules
        self._lost = -1  # frames up to this one have gone by; those after it can still be had without a seek
        self._counted: int | None = None  # frames since the beginning of the file, where they are told by counting
        self._attempt = 0  # the first of _ATTEMPTS that is worth trying with this file
        self._outputs = Outputs(self.path)
        try:
            stated = None
            if timeline is None or timeline.first is None:
                self._first, stated = first_look(self._outputs)
            else:
                self._first = timeline.first
            self._set_timeline(timeline or stated or self._measure())
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> VideoInfo:
        """What the file holds."""
        width, height = self._first.shown_size
        rotation = self._first.orientation.rotation
        return VideoInfo(self.frames, self.timeline.clock.rate, width, height, rotation, self._outputs.codec)

    @property
    def frames(self) -> int:
        """Frames that a full decode in presentation order yields (up to the break, in a file known to be broken)."""
        return self.timeline.frames

    @property
    def seconds(self) -> NDArray[np.float64]:
        """When each frame is shown, and when the last one ends: float64 ``[frames + 1]``, 0 first, NaN if unknown."""
        return self.timeline.clock.seconds

    def read(self, indices_T: Numbers, *, height: int, width: int, cut: Cut = WHOLE) -> NDArray[np.uint8]:
        """The frames of these numbers, uint8 RGB ``[T, height, width, 3]``, stretched and upright.

        Args:
            indices_T: frame numbers from 0, in any order, repeats allowed.
            height: pixels; so is ``width``.
            cut: the part of each frame that is seen.

        Raises:
            VideoError: a frame cannot be decoded.
            IndexError: a number is below 0 or not below ``frames``.
        """
        wanted = sorted({int(i) for i in indices_T})
        if wanted and not (wanted[0] >= 0 and wanted[-1] < self.frames):
            raise IndexError(f"{self.path}: frames {wanted[0]} to {wanted[-1]} asked for, there are {self.frames}")
        got: dict[int, NDArray[np.uint8]] = {}
        for group in self._groups(wanted):
            got |= self._read_group(group, height, width, cut)
        out = np.empty((len(indices_T), height, width, 3), np.uint8)
        for place, i in enumerate(indices_T):
            out[place] = got[int(i)]
        return out

    def iterate(self, *, height: int, width: int, cut: Cut = WHOLE) -> Iterator[NDArray[np.uint8]]:
        """Every frame in order, uint8 RGB ``[height, width, 3]`` each, stretched and upright.

        Where damage is met that nobody knew of, the timeline is another one afterwards, without the damaged frames.

        Raises:
            VideoError: after the last good frame, where the file breaks before its end.
        """
        done, last = 0, None
        if self.timeline.from_packets:
            self._enter_beginning(by_count=True)
            good = True
            for frame in self._outputs.frames(go_on=False):
                good = not (self._outputs.problem or frame.is_corrupt)
                if not good:
                    break
                yield self._rgb(frame, height, width, cut)
                done, last = done + 1, frame.pts
            self._lost = self.frames  # nothing more comes without a seek
            if good and not self._outputs.problem and not cut_off(self._outputs, self._first):
                return
            self.verify()
            if self.timeline.times is not None and last is not None:
                done = int(np.searchsorted(self.timeline.times, last, side="right"))
        for i in range(done, self.frames):
            yield self.read([i], height=height, width=width, cut=cut)[0]
        if self.timeline.broken:
            raise VideoError(self.path, self.timeline.broken)

    def span(self, start: float, end: float | None) -> tuple[int, int]:
        """The frames shown from ``start`` to before ``end`` seconds after the first: number of the first, and count."""
        return frames_between(self.seconds, start, end)

    def rate(self, first: int, count: int) -> float:
        """Mean frames a second of ``count`` frames from number ``first`` on; 0 when unknown."""
        if count == self.frames or not count:
            return self.timeline.clock.rate
        return rate_between(self.timeline.clock, first, count)

    def verify(self) -> Timeline:
        """Decode the whole file once, and from then on hold to what came out: fewer frames where it is damaged."""
        if self.timeline.from_packets:
            measured = self._measure()
            if measured.broken or measured.left_out or not measured.same_frames(self.timeline):
                self._set_timeline(measured)
        return self.timeline

    def close(self) -> None:
        """Close the file. Closing twice does no harm."""
        self._outputs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---- what the file holds -------------------------------------------------------------------------------------

    def _measure(self) -> Timeline:
        """The timeline of one sequential decode."""
        measured = survey(self._outputs, self._first)
        self._lost = max(measured.frames, self._outputs.stream.frames)  # nothing more comes without a seek
        return measured

    def _set_timeline(self, timeline: Timeline) -> None:
        self.timeline = timeline if timeline.first is self._first else replace(timeline, first=self._first)
        self._lost = timeline.frames  # the decoder stands anywhere: the next read has to seek
        self._number = {} if timeline.times is None else {t: i for i, t in enumerate(timeline.times.tolist())}
        self._place = {} if timeline.places is None else {n: i for i, n in enumerate(timeline.places.tolist())}

    # ---- reading -------------------------------------------------------------------------------------------------

    def _rgb(self, frame: VideoFrame, height: int, width: int, cut: Cut) -> NDArray[np.uint8]:
        try:
            return rgb(frame, self._first.orientation, height=height, width=width, rules=self.rules, cut=cut)
        except refusals() as error:
            what = f"its frames ({frame.format.name}) cannot be turned into RGB ({words(error)})"
            raise VideoError(self.path, what) from None

    def _groups(self, wanted: list[int]) -> Iterator[list[int]]:
        """Frames to be read in one go: a new group begins where a seek saves decoding."""
        group: list[int] = []
        for i in wanted:
            if group and self.timeline.entry(i) > group[-1] + _NEAR:
                yield group
                group = []
            group.append(i)
        if group:
            yield group

    def _read_group(self, group: list[int], height: int, width: int, cut: Cut) -> dict[int, NDArray[np.uint8]]:
        done = 0
        for earlier in _ATTEMPTS[self._attempt :]:
            got: dict[int, NDArray[np.uint8]] = {}
            for i, frame in self._frames(group, earlier=earlier):
                got[i] = self._rgb(frame, height, width, cut)
                if len(got) == len(group):
                    self._attempt = _ATTEMPTS.index(earlier)
                    return got
            done = max(done, len(got))
            self._lost = self.frames  # wherever the decoder stands now, the next attempt has to seek
        problem = self._outputs.problem or self.timeline.broken or "it is missing"
        raise VideoError(self.path, f"frame {group[done]} of {self.frames} cannot be decoded ({problem})")

    def _frames(self, group: list[int], *, earlier: int | None) -> Iterator[tuple[int, VideoFrame]]:
        """The frames of ``group`` as they come out of the decoder, with their numbers; stops early at a wrong one.

        ``earlier``: how many keyframes before the nearest one to begin; ``None``: at the beginning, frames counted.
        """
        entry = self.timeline.entry(group[0])
        by_count = earlier is None or self.timeline.times is None
        entered = -1
        if self.timeline.times is not None:
            self._outputs.expect(int(self.timeline.times[group[-1]]))
        if group[0] <= self._lost or entry > self._lost + _NEAR or by_count != (self._counted is not None):
            for _ in range(earlier or 0):
                entry = self.timeline.entry(max(entry - 1, 0))
            entered = self._enter(0 if by_count else entry, by_count=by_count)
        wanted = set(group)
        checks = self.timeline.checks
        skip = self._outputs.codec in _SKIPPABLE and checks is None and earlier == 0
        latest = -1
        # Behind damage only what a check sum tells to be right is taken.
        for frame in self._outputs.frames(go_on=checks is not None, leave_out=self._not_in(wanted) if skip else None):
            i = self._number_of(frame)
            if 0 <= i < latest or (i == entered > 0 and not frame.key_frame):
                return  # made-up timestamps, or the container calls a keyframe what is none
            latest = max(latest, i)
            self._lost = max(self._lost, i)
            if i in wanted:
                if checks is not None and check_sum(frame) != checks[i]:
                    return
                yield i, frame
            elif i > group[-1]:
                return

    def _not_in(self, wanted: set[int]) -> Callable[[Packet[VideoStream]], bool]:
        """Tells packets of frames that are not wanted."""

        def leave_out(packet: Packet[VideoStream]) -> bool:
            number = -1 if packet.pts is None else self._number.get(packet.pts, -1)
            if number < 0 or number in wanted:
                return False
            self._lost = max(self._lost, number)
            return True

        return leave_out

    def _number_of(self, frame: VideoFrame) -> int:
        """Which frame this is; -1 for one that the timeline does not know."""
        if self._counted is not None:
            self._counted += 1
            place = self._counted - 1
            return place if self.timeline.places is None else self._place.get(place, -1)
        return -1 if frame.pts is None else self._number.get(frame.pts, -1)

    def _enter(self, entry: int, *, by_count: bool) -> int:
        """Stand where decoding can begin, at frame ``entry`` or before it; returns the frame that comes out first.

        ``by_count``: at the beginning of the file opened anew, frames told by counting: that never fails.
        """
        while self.timeline.times is not None and not by_count:
            landed = self._seek(int(self.timeline.times[entry]))
            if 0 <= landed <= entry or (entry and not self.timeline.from_packets):
                self._lost = landed - 1
                return landed
            if entry == 0:
                break
            entry = self.timeline.entry(entry - 1)  # some containers seek by another clock: aim earlier
        self._enter_beginning(by_count=by_count)
        return 0

    def _seek(self, time: int) -> int:
        """Seek; the number of the frame of the packet that comes next, -1 when that is unknown."""
        self._counted = None
        first = self._outputs.seek(time)
        if first is None or first.pts is None:
            return -1
        return 0 if first.pts == self._first.pts else self._number.get(first.pts, -1)

    def _enter_beginning(self, *, by_count: bool) -> None:
        """Stand at the beginning of the file, opened anew."""
        self._outputs.rewind()
        self._lost = -1
        self._counted = 0 if by_count else None
