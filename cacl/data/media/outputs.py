"""One open media file and its decoder: frames come out from where it stands, in the order in which they are shown."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING

from cacl.data.media.stream import open_media, packets_of, words
from cacl.data.remote.media import RemoteMedia
from cacl.data.remote.servers import is_url

if TYPE_CHECKING:
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


class Outputs:
    """An open file. Not for several threads at once.

    Args:
        path: the file.

    Attributes:
        path: the file.
        container: as PyAV opened it; another one after ``rewind``.
        stream: its best video stream.
        remote: what reads it from a server, where it lies on one.
        problem: why decoding stopped before the end, or went on behind damage; or an empty string.

    Raises:
        VideoError: it cannot be opened, or holds no video.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.remote = RemoteMedia(path) if is_url(path) else None
        self.container, self.stream = open_media(path, self.remote)
        self._packets: Iterator[Packet[VideoStream]] = iter(())
        self._ready: deque[VideoFrame] = deque()  # came out with one that was taken
        self.problem = ""

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec."""
        return self.stream.codec_context.codec.canonical_name

    def rewind(self) -> None:
        """Stand at the beginning of the file, opened anew."""
        self.container.close()
        self.container, self.stream = open_media(self.path, self.remote)
        self._packets = packets_of(self.container, self.stream)
        self._ready.clear()

    def seek(self, time: int) -> Packet[VideoStream] | None:
        """Stand at the last packet to begin with before ``time`` (time base units); it, or ``None`` if that failed."""
        import av

        self._ready.clear()
        try:
            self.container.seek(time, stream=self.stream)
            packets = packets_of(self.container, self.stream)
            first = next(packets)
        except (av.FFmpegError, OSError, StopIteration):
            return None
        self._packets = chain([first], packets)
        return first

    def expect(self, time: int) -> None:
        """Packets are needed up to the one of this time: of a file on a server they are fetched at once."""
        if self.remote is not None:
            self.remote.expect_packets(self.stream, time)

    def skim(self) -> Callable[[int], bool] | None:
        """Packets are counted from here on, and their content is not used; see ``RemoteMedia.skim``."""
        return None if self.remote is None else self.remote.skim(self.stream)

    def read_again(self) -> None:
        """The opposite; where content was left out, the file is opened anew, for FFmpeg keeps what it read."""
        if self.remote is not None and self.remote.payload is not None:
            self.remote.payload = None
            self.rewind()

    def packets(self) -> Iterator[Packet[VideoStream]]:
        """Packets from here to the end of the file, an empty one last; ``problem`` says where it ends too early."""
        import av

        try:
            for packet in self._packets:  # noqa: UP028 ("yield from" would end them together with this generator)
                yield packet
        except (av.FFmpegError, OSError, ValueError) as error:
            self.problem = words(error)

    def frames(
        self, *, go_on: bool, leave_out: Callable[[Packet[VideoStream]], bool] | None = None
    ) -> Iterator[VideoFrame]:
        """Frames from here on.

        Args:
            go_on: behind damage, too, whatever comes out then; else those that the decoder still holds, and the end.
            leave_out: tells of a packet that its frame is not wanted, unless others lean on it.
        """
        context = self.stream.codec_context
        context.skip_frame = "DEFAULT"
        self.problem = ""
        yield from self._taken()
        for packet in self.packets():
            if packet.is_corrupt and not go_on:
                self.problem = "damaged data"
                break
            if leave_out is not None:
                context.skip_frame = "NONREF" if leave_out(packet) else "DEFAULT"
            self._ready.extend(self.decoded(packet))
            yield from self._taken()
            if self.problem and not go_on:
                break
        if self.problem:
            self._ready.extend(self.decoded(None))
            yield from self._taken()

    def _taken(self) -> Iterator[VideoFrame]:
        while self._ready:
            yield self._ready.popleft()

    def decoded(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        """What comes out for one packet, or at the end of all (``None``); ``problem`` says why nothing did."""
        import av

        try:
            return self.stream.codec_context.decode(packet)
        except av.EOFError:
            pass  # the end was told before
        except (av.FFmpegError, OSError, ValueError) as error:
            self.problem = words(error)
        return []

    def close(self) -> None:
        """Close the file. Closing twice does no harm."""
        self._packets = iter(())
        self.container.close()
