"""A media file opened at its best video stream, or one clear reason why not.

Everything that can be wrong before the first frame is caught here: no video at all, a still image, a cover picture, a
codec without a decoder, a header with an insane size.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from cacl.data.media.timeline import PacketFacts, in_order
from cacl.errors import UserError, VideoError
from cacl.extras import pip_install

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.codeccontext import VideoCodecContext
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from cacl.data.remote.media import RemoteMedia

TEXT = "not a video (text file)"  # why a text file is no video
HEAD = 512  # bytes by which it is known
MAX_SIDE = 16_384  # pixels; a header that says more is damaged, or means harm
MAX_PIXELS = 64_000_000
Skim = Callable[[], "Callable[[int], bool] | None"]
_DOUBTFUL = 12  # packets; made-up timestamps of frames that change places show within these
_ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC
_STILL = frozenset({"image2", "ico", "fits"})
_STILL_BRANDS = ("avi", "mif", "msf", "hei", "hev", "jpeg")  # of ISO files that may hold photos: AVIF and HEIF
_NEXT_PICTURE = b"\xff\xd9\xff\xd8\xff"  # JPEG: end of one picture, beginning of the next


def open_media(path: str, remote: RemoteMedia | None = None) -> tuple[InputContainer, VideoStream]:
    """Open a file and choose the video stream that FFmpeg calls best; nothing is decoded yet, threads are off.

    Args:
        path: the file.
        remote: where it lies on a server, what reads it from there.

    Raises:
        VideoError: the file cannot be read, or holds no video that can be decoded.
        UserError: PyAV is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise UserError(
            f"{path}: no video can be decoded here, PyAV cannot be imported ({error}); install it "
            f"({pip_install('av')}), "
            "or take a store that cacl prepare made elsewhere."
        ) from error
    try:
        # An absolute path, lest a name such as "a:b.mp4" be read as a protocol; files alone, lest a playlist fetch
        # something from the network; "replace", because titles in old files are in any encoding. Opening decodes a
        # little already: the frames' size is limited before.
        options = {"protocol_whitelist": "file", "max_pixels": str(MAX_PIXELS)}
        lenient: dict[str, Any] = {} if av.__version__ >= "19" else {"metadata_errors": "replace"}  # 19 is, by itself
        if remote is not None:  # and of those nothing else is opened at all, lest a playlist reads the disk
            options["protocol_whitelist"] = "none"
            _check_head(path, remote)
        container = av.open(os.path.abspath(path) if remote is None else remote, options=options, **lenient)
        # raw MJPEG is taken for a photo
        if remote is None and container.format.name in ("jpeg_pipe", "image2") and _is_row_of_jpegs(path):
            container.close()
            container = av.open(os.path.abspath(path), format="mjpeg", options=options, **lenient)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise VideoError(path, f"cannot be opened as a video ({words(error)})") from None
    try:
        return container, _best_stream(path, container)
    except BaseException:
        container.close()
        raise


def first_frames(
    path: str, container: InputContainer, stream: VideoStream, *, skim: Skim = lambda: None
) -> tuple[VideoFrame, list[int | None], list[PacketFacts]]:
    """The first frame that comes out, timestamps of the first few, facts of all packets.

    Only where the decoder expects frames to change places, but the packets' timestamps do not, are several decoded.
    When it is enough ``skim`` is called, which may say of packets by their numbers what makes a keyframe.

    Raises:
        VideoError: no frame comes out.
    """
    import av

    first: VideoFrame | None = None
    shown: list[int | None] = []
    facts: list[PacketFacts] = []
    decoding, keys = True, None
    problem = ""
    try:
        for packet in packets_of(container, stream):
            if packet.size:
                found = PacketFacts.of(packet)
                facts.append(found if keys is None else replace(found, key=keys(len(facts))))
            if not decoding:
                continue
            try:
                for frame in stream.decode(packet):
                    first = first or frame
                    shown.append(frame.pts)
            except (av.FFmpegError, OSError, ValueError) as error:
                problem = problem or words(error)  # a recording may begin in the middle: later packets may do
            doubtful = len(facts) < _DOUBTFUL and bool(stream.codec_context.has_b_frames) and in_order(facts)
            decoding = first is None or doubtful
            keys = None if decoding else skim()
    except (av.FFmpegError, OSError, ValueError) as error:
        problem = problem or words(error)
    if first is None:
        raise VideoError(path, f"no frame can be decoded{f' ({problem})' if problem else ''}")
    return first, shown, facts


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet[VideoStream]]:
    """Packets of a stream from where the container stands, and an empty one at the end.

    PyAV raises IndexError behind that one when other streams came up on the way.
    """
    with suppress(IndexError):
        yield from container.demux(stream)


def words(error: Exception) -> str:
    """What went wrong in FFmpeg's own words, without numbers and function names."""
    return str(getattr(error, "strerror", None) or error).strip().rstrip(".").lower() or type(error).__name__


def is_text(head: bytes) -> bool:
    """Whether the first ``HEAD`` bytes of a file are those of a text."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):  # marks UTF-16
        odd = head[2 + (head[0] == 0xFF) :: 2]
        return len(head) > 2 and odd.count(0) > len(odd) * 0.7
    if b"\0" in head or head.startswith(b"YUV4MPEG2"):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == HEAD and error.start >= len(head) - 3  # a character cut in two at the end
    return True


def _check_head(path: str, remote: RemoteMedia) -> None:
    """Raise VideoError where the first bytes are no video's; those of files on a disk were looked at before."""
    remote.seek(0)
    head = remote.read(HEAD)
    remote.seek(0)
    if not head:
        raise VideoError(path, "empty file")
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise VideoError(path, "a web page, not a video")
    if is_text(head):
        raise VideoError(path, TEXT)


def _is_row_of_jpegs(path: str) -> bool:
    """Whether three or more JPEGs follow one another; photos with a second picture in them say so at once."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data.find(b"MPF\0", 0, 65_536) >= 0:
            return False
        second = data.find(_NEXT_PICTURE)
        return second >= 0 and data.find(_NEXT_PICTURE, second + 2) >= 0


def _best_stream(path: str, container: InputContainer) -> VideoStream:
    name = container.format.name
    if name == "tty":
        raise VideoError(path, TEXT)
    if name.endswith("_pipe") or name in _STILL:
        raise VideoError(path, "a still image, not a video")
    stream = cast("VideoStream | None", container.streams.best("video"))
    photos = "mov" in name and container.metadata.get("major_brand", "").startswith(_STILL_BRANDS)
    if photos and (stream is None or stream.frames <= 1):
        raise VideoError(path, "a still image, not a video")
    if stream is None:
        audio = any(s.type == "audio" for s in container.streams)
        raise VideoError(path, f"no video stream found{' (audio only)' if audio else ''}")
    if int(stream.disposition) & _ATTACHED_PICTURE:
        raise VideoError(path, "no video stream found (audio with a cover picture)")
    context = cast("VideoCodecContext | None", stream.codec_context)
    if context is None:
        raise VideoError(path, "the video's codec is unknown here")
    if context.width > MAX_SIDE or context.height > MAX_SIDE or context.width * context.height > MAX_PIXELS:
        raise VideoError(path, f"the header states frames of {context.width}×{context.height} pixels")
    context.thread_type = "NONE"  # threads cost more than they bring on small video, and workers fill the cores
    context.thread_count = 1
    context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
    return stream
