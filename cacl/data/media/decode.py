"""Exactly the frames asked for, out of any video file that FFmpeg reads.

Frame i is the i-th frame that a full decode in presentation order yields. It is found by its timestamp: seek to the
last keyframe before it, decode from there, and skip what nobody asked for. Whatever comes out wrong after a seek is
decoded again from the beginning. Frames come out upright, as a player shows them.

Legend: T frames, H height and W width in pixels, C = 3 colours (RGB).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.pixels import orientation_of, rgb
from cacl.data.media.stream import first_frames, open_media, packets_of, words
from cacl.data.media.timeline import FirstLook, PacketFacts, Timeline, check_sum, from_frames, from_packets
from cacl.errors import VideoError

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

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

    Raises:
        VideoError: the file cannot be read, or holds no video.
    """

    def __init__(self, path: str | Path, *, timeline: Timeline | None = None) -> None:
        self.path = str(path)
        self._packets: Iterator[Packet[VideoStream]] = iter(())
        self._lost = -1  # frames up to this one have gone by; those after it can still be had without a seek
        self._counted: int | None = None  # frames since the beginning of the file, where they are told by counting
        self._problem = ""  # why decoding stopped before the end
        self._attempt = 0  # the first of _ATTEMPTS that is worth trying with this file
        self._stored: list[PacketFacts] = []  # facts of all packets, read where the timeline was not known
        self._container, self._stream = open_media(self.path)
        try:
            if timeline is None or timeline.first is None:
                self._look()
            else:
                self._first = timeline.first
            self._set_timeline(timeline or self._stated() or self._measure())
        except BaseException:
            self.close()
            raise
        width, height = self._first.shown_size
        rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.info = VideoInfo(self.frames, rate, width, height, self._first.orientation.rotation, self._codec)

    @property
    def frames(self) -> int:
        """Frames that a full decode in presentation order yields (up to the break, in a file known to be broken)."""
        return self.timeline.frames

    def read(self, indices_T: Sequence[int] | NDArray[np.int64], *, height: int, width: int) -> NDArray[np.uint8]:
        """The frames of these numbers, stretched to ``height`` × ``width`` pixels and upright.

        Args:
            indices_T: frame numbers from 0, in any order, repeats allowed.
            height: pixels.
            width: pixels.

        Returns:
            uint8 RGB, ``[T, height, width, 3]``.

        Raises:
            VideoError: a frame cannot be decoded.
            IndexError: a number is below 0 or not below ``frames``.
        """
        wanted = sorted({int(i) for i in indices_T})
        if wanted and not (wanted[0] >= 0 and wanted[-1] < self.frames):
            raise IndexError(f"{self.path}: frames {wanted[0]} to {wanted[-1]} asked for, there are {self.frames}")
        got: dict[int, NDArray[np.uint8]] = {}
        for group in self._groups(wanted):
            got |= self._read_group(group, height, width)
        out = np.empty((len(indices_T), height, width, 3), np.uint8)
        for place, i in enumerate(indices_T):
            out[place] = got[int(i)]
        return out

    def iterate(self, *, height: int, width: int) -> Iterator[NDArray[np.uint8]]:
        """Every frame in order, uint8 RGB ``[height, width, 3]`` each, stretched and upright.

        Raises:
            VideoError: after the last good frame, where the file breaks before its end.
        """
        for frame in self._decode_all():
            yield rgb(frame, self._first.orientation, height=height, width=width)

    def span(self, start: float, end: float | None) -> tuple[int, int]:
        """The frames shown from ``start`` to before ``end`` seconds after the first: number of the first, and count."""
        times = self.timeline.times
        if times is not None and self._stream.time_base is not None:
            seconds = (times - times[0]) * float(self._stream.time_base)
        else:
            seconds = np.arange(self.frames) / (self.info.fps or 25.0)
        half = 5e-7  # "0.04" is meant to include the frame at 0.0399999
        first = int(np.searchsorted(seconds, start - half))
        last = self.frames if end is None else int(np.searchsorted(seconds, end - half))
        return first, max(last - first, 0)

    def verify(self) -> Timeline:
        """Decode the whole file once, and from then on hold to what came out: fewer frames where the file breaks."""
        if self.timeline.from_packets:
            measured = self._measure()
            if measured.broken or not measured.same_frames(self.timeline):
                self._set_timeline(measured)
        return self.timeline

    def close(self) -> None:
        """Close the file. Closing twice does no harm."""
        self._packets = iter(())
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ---- what the file holds -------------------------------------------------------------------------------------

    @property
    def _codec(self) -> str:
        return self._stream.codec_context.codec.canonical_name

    def _look(self) -> None:
        """Read every packet and decode the first frames."""
        frame, self._shown, self._stored = first_frames(self.path, self._container, self._stream)
        pts = self._stored[0].pts
        self._first = FirstLook(frame.height, frame.width, orientation_of(frame), pts, len(self._stored))

    def _stated(self) -> Timeline | None:
        """The timeline that the packets state, if it can be trusted."""
        name = self._container.format.name
        if "mp4" in name and self._first.packets < self._stream.frames:
            return None  # the file was cut off
        return from_packets(self._stored, container=name, codec=self._codec, first_shown=self._shown)

    def _measure(self) -> Timeline:
        """The timeline of one sequential decode."""
        rows: list[tuple[int | None, bool, int]] = []
        try:
            for frame in self._decode_all():
                rows.append((frame.pts, frame.key_frame, check_sum(frame)))
        except VideoError as error:
            if not rows:
                raise
            return from_frames(rows, broken=error.reason)
        return from_frames(rows)

    def _set_timeline(self, timeline: Timeline) -> None:
        self.timeline = timeline if timeline.first is self._first else replace(timeline, first=self._first)
        self._lost = timeline.frames  # the decoder stands anywhere: the next read has to seek
        self._number = {} if timeline.times is None else {t: i for i, t in enumerate(timeline.times.tolist())}

    # ---- reading -------------------------------------------------------------------------------------------------

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

    def _read_group(self, group: list[int], height: int, width: int) -> dict[int, NDArray[np.uint8]]:
        done = 0
        for earlier in _ATTEMPTS[self._attempt :]:
            got: dict[int, NDArray[np.uint8]] = {}
            for i, frame in self._frames(group, earlier=earlier):
                got[i] = rgb(frame, self._first.orientation, height=height, width=width)
                if len(got) == len(group):
                    self._attempt = _ATTEMPTS.index(earlier)
                    return got
            done = max(done, len(got))
            self._lost = self.frames  # wherever the decoder stands now, the next attempt has to seek
        problem = self._problem or self.timeline.broken or "it is missing"
        raise VideoError(self.path, f"frame {group[done]} of {self.frames} cannot be decoded ({problem})")

    def _frames(self, group: list[int], *, earlier: int | None) -> Iterator[tuple[int, VideoFrame]]:
        """The frames of ``group`` as they come out of the decoder, with their numbers; stops early at a wrong one.

        ``earlier``: how many keyframes before the nearest one to begin; ``None``: at the beginning, frames counted.
        """
        entry = self.timeline.entry(group[0])
        by_count = earlier is None or self.timeline.times is None
        entered = -1
        if group[0] <= self._lost or entry > self._lost + _NEAR or by_count != (self._counted is not None):
            for _ in range(earlier or 0):
                entry = self.timeline.entry(max(entry - 1, 0))
            entered = self._enter(0 if by_count else entry, by_count=by_count)
        wanted = set(group)
        checks = self.timeline.checks
        skip = self._codec in _SKIPPABLE and checks is None and earlier == 0
        latest = -1
        for frame in self._outputs(only=wanted if skip else None):
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

    def _outputs(self, only: set[int] | None = None) -> Iterator[VideoFrame]:
        """Frames as they come out from here on; after damage those that the decoder still held, ``_problem`` says why.

        ``only``: frames that must come out; others are left out where no frame leans on them.
        """
        import av

        self._problem = ""
        context = self._stream.codec_context
        context.skip_frame = "DEFAULT"
        try:
            for packet in self._packets:
                if packet.is_corrupt:
                    self._problem = "damaged data"
                    break
                if only is not None:
                    number = -1 if packet.pts is None else self._number.get(packet.pts, -1)
                    leave_out = number >= 0 and number not in only
                    context.skip_frame = "NONREF" if leave_out else "DEFAULT"
                    if leave_out:
                        self._lost = max(self._lost, number)
                yield from self._stream.decode(packet)
        except (av.FFmpegError, OSError, ValueError) as error:
            self._problem = words(error)
        if self._problem:
            try:
                yield from self._stream.codec_context.decode(None)
            except (av.FFmpegError, OSError, ValueError):
                return

    def _number_of(self, frame: VideoFrame) -> int:
        """Which frame this is; -1 for one that the timeline does not know."""
        if self._counted is not None:
            self._counted += 1
            return self._counted - 1
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
        self._rewind()
        self._counted = 0 if by_count else None
        return 0

    def _seek(self, time: int) -> int:
        """Seek; the number of the frame of the packet that comes next, -1 when that is unknown."""
        import av

        self._counted = None
        try:
            self._container.seek(time, stream=self._stream)
            packets = packets_of(self._container, self._stream)
            first = next(packets)
        except (av.FFmpegError, OSError, StopIteration):
            return -1
        self._packets = chain([first], packets)
        if first.pts == self._first.pts:
            return 0
        return -1 if first.pts is None else self._number.get(first.pts, -1)

    def _rewind(self) -> None:
        """Stand at the beginning of the file, opened anew."""
        self._container.close()
        self._container, self._stream = open_media(self.path)
        self._packets = packets_of(self._container, self._stream)
        self._lost = -1

    def _decode_all(self) -> Iterator[VideoFrame]:
        """Every frame from the first on; a VideoError after the last good one where the file breaks."""
        self._rewind()
        self._counted = None
        shown = sorted(p.pts for p in self._stored if p.pts is not None and not p.hidden)
        if not self._stored and self.timeline.times is not None:
            shown = self.timeline.times.tolist()
        done = 0
        for frame in self._outputs():
            if self._problem and (done >= len(shown) or shown[done] != frame.pts):
                break  # the frame that belongs here was lost in the damage
            yield frame
            done += 1
        self._lost = max(done, self._stream.frames)  # nothing more comes without a seek
        total = max(self._first.packets, self._stream.frames)
        if self._problem:
            raise VideoError(self.path, f"breaks at frame {done} of {total} ({self._problem})")
        if "mp4" in self._container.format.name and self._first.packets < self._stream.frames:
            raise VideoError(self.path, f"ends after frame {done} of {total} (the file was cut off)")
