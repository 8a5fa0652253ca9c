"""What a media file holds: by its packets alone where they can be trusted, else by one sequential decode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cacl.data.media.clock import Clock, clock_of, fraction
from cacl.data.media.damage import good_frames
from cacl.data.media.outputs import Outputs
from cacl.data.media.pixels import Orientation, oddities, orientation_of, refusals, rgb
from cacl.data.media.stream import first_frames, words
from cacl.data.media.timeline import (
    FirstLook,
    FrameFacts,
    PacketFacts,
    Timeline,
    check_sum,
    from_frames,
    from_packets,
    has_palette,
    times_from_packets,
)
from cacl.errors import VideoError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

_ANIMATIONS = frozenset({"gif", "apng"})  # most of their files hold a single picture
_LEANING = frozenset({2, 3, 4, 6})  # AVPictureType: P, B, S, SP
_PARSED = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})  # in MPEG-TS; see damage.good_frames


def first_look(outputs: Outputs) -> tuple[FirstLook, Timeline | None]:
    """Read every packet and decode the first frames: the timeline that the packets state, if it can be trusted.

    Raises:
        VideoError: no frame comes out, or it is a still image.
    """
    container, name = outputs.container, outputs.container.format.name
    frame, times, packets = first_frames(outputs.path, container, outputs.stream, skim=outputs.skim)
    outputs.read_again()  # its stream is another one, perhaps
    if name in _ANIMATIONS and len(packets) == 1:
        raise VideoError(outputs.path, "a still image, not a video")
    try:
        rgb(frame, Orientation(), height=8, width=8)
        orientation, unusual = orientation_of(frame), oddities(frame)
    except refusals() as error:
        raise VideoError(outputs.path, f"its frames ({frame.format.name}) cannot be read ({words(error)})") from None
    look = FirstLook(
        height=frame.height,
        width=frame.width,
        orientation=orientation,
        pts=packets[0].pts,
        packets=len(packets),
        interlaced=frame.interlaced_frame,
        oddities=unusual,
    )
    if has_palette(frame) or cut_off(outputs, look):
        return look, None  # colours that were changed before are not known after a seek
    shown = times_from_packets(packets, container=name, codec=outputs.codec, first_shown=times)
    if shown is None:
        return look, None
    return look, from_packets(shown, _clock(outputs.stream, [p.pts for p in shown], [p.duration for p in shown]))


def cut_off(outputs: Outputs, first: FirstLook) -> bool:
    """Whether the index, at one end of the file, states frames that are not there."""
    return "mp4" in outputs.container.format.name and first.packets < outputs.stream.frames


def survey(outputs: Outputs, first: FirstLook) -> Timeline:
    """The timeline of a sequential decode from the beginning; the decoder stands at the end afterwards.

    Raises:
        VideoError: no good frame comes out.
    """
    frames, packets, failed, stopped = _decode_all(outputs)
    parsed = outputs.container.format.name == "mpegts" and outputs.codec in _PARSED
    good = good_frames(frames, packets, failed, parsed=parsed, stopped=stopped)
    rows = [frames[i] for i in good.frames]
    total = max(first.packets, outputs.stream.frames)
    if good.ends_early:
        broken = f"breaks at frame {len(rows)} of {total} ({good.ends_early})"
    elif cut_off(outputs, first):
        broken = f"ends after frame {len(rows)} of {total} (the file was cut off)"
    else:
        broken = ""
    if not rows:
        raise VideoError(outputs.path, broken or "no frame can be decoded")
    clock = _clock(outputs.stream, [row.pts for row in rows], [row.duration for row in rows])
    return from_frames(frames, clock, good=good.frames, left_out=good.left_out, gaps=good.gaps, broken=broken)


def _clock(stream: VideoStream, times: list[int | None], durations: list[int]) -> Clock:
    rates = [fraction(rate) for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate)]
    return clock_of(times, durations, time_base=fraction(stream.time_base), rates=rates)


def _decode_all(outputs: Outputs) -> tuple[list[FrameFacts], list[PacketFacts], dict[int, str], str]:
    """All frames, all packets, those that the decoder refused, and why the file ends too early."""
    from av.codec.context import Flags

    outputs.rewind()
    context = outputs.stream.codec_context
    context.flags |= Flags.copy_opaque  # so that a frame knows its packet
    frames: list[FrameFacts] = []
    packets: list[PacketFacts] = []
    failed: dict[int, str] = {}
    stopped = outputs.problem = ""
    for packet in outputs.packets():
        if packet.size:
            packet.opaque = len(packets)
            packets.append(PacketFacts.of(packet))
        frames += [_facts(frame, len(packets) - 1) for frame in outputs.decoded(packet)]
        if outputs.problem and packet.size:
            failed[len(packets) - 1], outputs.problem = outputs.problem, ""
    if outputs.problem:
        stopped = outputs.problem
        frames += [_facts(frame, len(packets) - 1) for frame in outputs.decoded(None)]
    return frames, packets, failed, stopped


def _facts(frame: VideoFrame, latest: int) -> FrameFacts:
    return FrameFacts(
        packet=frame.opaque if isinstance(frame.opaque, int) else latest,
        pts=frame.pts,
        duration=frame.duration or 0,
        key=frame.key_frame,
        intra=frame.pict_type not in _LEANING,
        corrupt=frame.is_corrupt,
        interlaced=frame.interlaced_frame,
        check=check_sum(frame),
    )
