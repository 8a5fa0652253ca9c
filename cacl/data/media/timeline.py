"""Which frames a video file holds, and where to enter it, learnt from its packets without decoding them.

Headers lie about the number of frames; packets do so only in a few known cases. Where one packet is one frame beyond
doubt, the sorted timestamps of the packets are the frames. Everywhere else (no, repeated or invented timestamps,
streams cut before a keyframe, containers that hand out halves of frames) one sequential decode says what there is, and
a check sum of each frame catches a seek that comes out elsewhere.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.clock import Clock
from cacl.data.media.pixels import Orientation

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# Containers whose packets carry a timestamp of presentation, and codecs of which a packet yields exactly one frame.
# Not here: MPEG-TS and raw streams (two fields, two packets), VP8 (packets that show nothing), and all the unknown.
_CONTAINERS = frozenset({"mov", "matroska", "avi", "gif", "flv", "asf"})
_CODECS = frozenset(
    (  # noqa: SIM905
        "h264 hevc vp9 av1 mpeg4 mpeg1video mpeg2video msmpeg4v2 msmpeg4v3 wmv1 wmv2 h263 flv1 mjpeg gif ffv1 huffyuv "
        "ffvhuff utvideo rawvideo prores dnxhd png qtrle cinepak"
    ).split()
)


@dataclass(frozen=True, slots=True)
class FirstLook:
    """What the first frame and the packets told besides, so that a file met again need not decode its first frame.

    Attributes:
        height: of the stored frames, pixels.
        width: pixels.
        orientation: how they are turned upright.
        pts: timestamp of the packet that is stored first.
        packets: number of packets that hold data.
        interlaced: whether the first frame holds two moments.
        oddities: what else is unusual about its pixels, for ``videos.csv``.
    """

    height: int
    width: int
    orientation: Orientation
    pts: int | None
    packets: int
    interlaced: bool = False
    oddities: tuple[str, ...] = ()

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height as shown, pixels."""
        return (self.height, self.width) if self.orientation.transpose else (self.width, self.height)


@dataclass(frozen=True)
class Timeline:
    """The frames of one video in presentation order.

    Attributes:
        frames: their number, N.
        times: presentation timestamp of each, int64 ``[N]``, increasing, in units of the stream's time base; ``None``
            where frames can only be counted.
        keys: indices of the frames at which decoding can begin, int64, increasing; the first is always 0.
        clock: when each is shown, in seconds.
        checks: check sum of each frame, uint32 ``[N]``, where a sequential decode made this timeline; ``None`` where
            the packets alone did.
        broken: why decoding stopped before the end of the file, or an empty string.
        first: what else is known of the file, once a decoder has opened it.
        places: which of the frames that a sequential decode yields each one is, int64 ``[N]``, increasing; ``None``
            where none of them was left out.
        left_out: how many damaged frames are not among these, before and between them.
        gaps: numbers of the frames right before which some were left out.
        interlaced: whether some frames hold two moments.
    """

    frames: int
    times: NDArray[np.int64] | None
    keys: NDArray[np.int64]
    clock: Clock
    checks: NDArray[np.uint32] | None = None
    broken: str = ""
    first: FirstLook | None = None
    places: NDArray[np.int64] | None = None
    left_out: int = 0
    gaps: tuple[int, ...] = ()
    interlaced: bool = False

    @property
    def from_packets(self) -> bool:
        """Whether no frame had to be decoded to know this."""
        return self.checks is None

    def entry(self, frame: int) -> int:
        """The last frame at or before ``frame`` at which decoding can begin."""
        return int(self.keys[np.searchsorted(self.keys, frame, side="right") - 1])

    def same_frames(self, other: Timeline) -> bool:
        """Whether both know the same frames at the same times."""
        if self.times is None or other.times is None:
            return self.times is other.times and self.frames == other.frames
        return np.array_equal(self.times, other.times)


@dataclass(frozen=True, slots=True)
class PacketFacts:
    """What one packet says of itself: timestamps and duration in units of the time base, 0 for no duration."""

    pts: int | None
    dts: int | None
    duration: int
    key: bool
    hidden: bool
    corrupt: bool

    @staticmethod
    def of(packet: Packet[VideoStream]) -> PacketFacts:
        """Keep the few facts and let the bytes go."""
        key, hidden, corrupt = packet.is_keyframe, packet.is_discard, packet.is_corrupt
        return PacketFacts(packet.pts, packet.dts, packet.duration or 0, key, hidden, corrupt)


@dataclass(frozen=True, slots=True)
class FrameFacts:
    """What one decoded frame says of itself.

    Attributes:
        packet: number of the packet that it came out of.
        pts: its timestamp.
        duration: in units of the time base; 0 where none is stated.
        key: whether decoding can begin here, says the decoder.
        intra: whether it leans on no other frame.
        corrupt: whether the decoder had to make up some of it.
        interlaced: whether it holds two moments.
        check: ``check_sum``.
    """

    packet: int
    pts: int | None
    duration: int
    key: bool
    intra: bool
    corrupt: bool
    interlaced: bool
    check: int


def times_from_packets(
    packets: list[PacketFacts], *, container: str, codec: str, first_shown: list[int | None]
) -> list[PacketFacts] | None:
    """The packets of the frames as they are shown, or ``None`` where what the packets state cannot be trusted.

    Args:
        packets: every packet of the stream that holds data, in the order of the file.
        container: FFmpeg's name of the container, e.g. ``"mov,mp4,m4a,3gp,3g2,mj2"``.
        codec: FFmpeg's name of the codec, e.g. ``"h264"``.
        first_shown: timestamps of the first frames as the decoder really gave them out, at least one.
    """
    if codec not in _CODECS or _CONTAINERS.isdisjoint(container.split(",")) or not packets or not packets[0].key:
        return None
    stored = [p.pts for p in packets]
    if any(p.corrupt for p in packets) or any(pts is None for pts in stored) or len(set(stored)) != len(stored):
        return None
    shown = sorted((p for p in packets if not p.hidden), key=lambda p: _as_int(p.pts))
    if not first_shown or [p.pts for p in shown[: len(first_shown)]] != first_shown:
        return None  # the container (mostly AVI) made up timestamps in the order of storage
    if _as_int(shown[0].pts) < _as_int(stored[0]):
        return None  # frames that lean on a picture before the beginning of the file: decoders drop some of them
    return shown


def from_packets(shown: list[PacketFacts], clock: Clock) -> Timeline:
    """The timeline of what ``times_from_packets`` found."""
    keys = np.array([0, *(i for i, p in enumerate(shown) if p.key and i)], np.int64)
    return Timeline(len(shown), np.array([_as_int(p.pts) for p in shown], np.int64), keys, clock)


def in_order(packets: list[PacketFacts]) -> bool:
    """Whether the timestamps increase in the order of storage, so that they say nothing of frames changing places."""
    times = [p.pts for p in packets if p.pts is not None]
    return all(a < b for a, b in pairwise(times))


def from_frames(
    frames: list[FrameFacts], clock: Clock, *, good: list[int], left_out: int, gaps: tuple[int, ...], broken: str
) -> Timeline:
    """The timeline of one sequential decode.

    Args:
        frames: all that came out.
        clock: of those that are good.
        good: which of them are, increasing, at least one.
        left_out: see ``Timeline``, and so ``gaps`` and ``broken``.
    """
    rows = [frames[i] for i in good]
    times = [row.pts for row in rows]
    known = all(pts is not None for pts in times) and all(_as_int(a) < _as_int(b) for a, b in pairwise(times))
    if known and len(rows) < len(frames):  # a damaged frame of the same time would be taken for a good one
        known = len({f.pts for f in frames}) == len(frames)
    return Timeline(
        frames=len(rows),
        times=np.array(times, np.int64) if known else None,
        keys=np.array([0, *(i for i, row in enumerate(rows) if row.key and i)] if known else [0], np.int64),
        clock=clock,
        checks=np.array([row.check for row in rows], np.uint32),
        broken=broken,
        places=np.array(good, np.int64) if len(rows) < len(frames) else None,
        left_out=left_out,
        gaps=gaps,
        interlaced=any(row.interlaced for row in rows),
    )


def check_sum(frame: VideoFrame) -> int:
    """CRC-32 of every fourth row of the first plane (brightness, mostly) and of the palette, padding left out."""
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))[: frame.height : 4]
    one_plane = len(frame.planes) == 1 or has_palette(frame)
    bits = frame.format.padded_bits_per_pixel if one_plane else -(-frame.format.components[0].bits // 8) * 8
    check = zlib.crc32(rows[:, : -(-frame.width * bits // 8)].tobytes())
    return zlib.crc32(bytes(frame.planes[1]), check) if has_palette(frame) else check


def has_palette(frame: VideoFrame) -> bool:
    """Whether its pixels are numbers of colours, which a file may change as it goes on."""
    return frame.format.name == "pal8"


def _as_int(pts: int | None) -> int:
    """A timestamp that is known to be there."""
    assert pts is not None
    return pts
