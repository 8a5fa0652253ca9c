"""Which frames a video file holds, and where to enter it, learnt from its packets without decoding them.

Headers lie about the number of frames; packets do so only in a few known cases. Where one packet is one frame beyond
doubt, the sorted timestamps of the packets are the frames. Everywhere else (no, repeated or invented timestamps,
streams cut before a keyframe, containers that hand out halves of frames) one sequential decode says what there is, and
a check sum of each frame catches a seek that comes out elsewhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
    """

    height: int
    width: int
    orientation: Orientation
    pts: int | None
    packets: int

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
        checks: check sum of each frame's brightness, uint32 ``[N]``, where a sequential decode made this timeline;
            ``None`` where the packets alone did.
        broken: why decoding stopped before the end of the file, or an empty string.
        first: what else is known of the file, once a decoder has opened it.
    """

    frames: int
    times: NDArray[np.int64] | None
    keys: NDArray[np.int64]
    checks: NDArray[np.uint32] | None = None
    broken: str = ""
    first: FirstLook | None = None

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
    """What one packet says of itself."""

    pts: int | None
    key: bool
    hidden: bool
    corrupt: bool

    @staticmethod
    def of(packet: Packet[VideoStream]) -> PacketFacts:
        """Keep the few facts and let the bytes go."""
        return PacketFacts(packet.pts, packet.is_keyframe, packet.is_discard, packet.is_corrupt)


def from_packets(
    packets: list[PacketFacts], *, container: str, codec: str, first_shown: list[int | None]
) -> Timeline | None:
    """The timeline that the packets state, or ``None`` where they cannot be trusted.

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
    shown = sorted(_as_int(p.pts) for p in packets if not p.hidden)
    if not first_shown or shown[: len(first_shown)] != first_shown:
        return None  # the container (mostly AVI) made up timestamps in the order of storage
    entry = _as_int(stored[0])
    if shown[0] < entry:
        return None  # frames that lean on a picture before the beginning of the file: decoders drop some of them
    times = np.array(shown, np.int64)
    key_times = np.array(sorted(_as_int(p.pts) for p in packets if p.key and not p.hidden), np.int64)
    keys = np.union1d(np.zeros(1, np.int64), np.searchsorted(times, key_times).astype(np.int64))
    return Timeline(len(times), times, keys)


def in_order(packets: list[PacketFacts]) -> bool:
    """Whether the timestamps increase in the order of storage, so that they say nothing of frames changing places."""
    times = [p.pts for p in packets if p.pts is not None]
    return all(a < b for a, b in pairwise(times))


def from_frames(frames: Iterable[tuple[int | None, bool, int]], *, broken: str = "") -> Timeline:
    """The timeline of a sequential decode: timestamp, "decoding can begin here" and check sum of each frame."""
    rows = list(frames)
    times = [pts for pts, _, _ in rows]
    known = all(pts is not None for pts in times) and all(_as_int(a) < _as_int(b) for a, b in pairwise(times))
    keys = [0, *(i for i, (_, key, _) in enumerate(rows) if key and i)] if known else [0]
    return Timeline(
        frames=len(rows),
        times=np.array(times, np.int64) if known else None,
        keys=np.array(keys, np.int64),
        checks=np.array([check for _, _, check in rows], np.uint32),
        broken=broken,
    )


def check_sum(frame: VideoFrame) -> int:
    """CRC-32 of every fourth row of the first plane (brightness), padding left out."""
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, abs(plane.line_size))[: frame.height : 4]
    return zlib.crc32(rows[:, : min(rows.shape[1], frame.width)].tobytes())


def _as_int(pts: int | None) -> int:
    """A timestamp that is known to be there."""
    assert pts is not None
    return pts
