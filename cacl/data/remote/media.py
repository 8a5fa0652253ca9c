"""A media file on a server, opened so that a decoder finds its index first, and what a clip needs in one range."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from cacl.data.remote.boxes import boxes_of
from cacl.data.remote.ranged import RangedFile

if TYPE_CHECKING:
    from av.video.stream import VideoStream

# Codecs of which the index of an MP4 says all that FFmpeg tells of a packet, but where decoding can begin.
_MORE = 1  # packets behind the last one that is certainly needed
_UNREAD = frozenset({"h264", "hevc"})


class RemoteMedia(RangedFile):
    """See ``RangedFile``; Raises VideoError: the server does not give it."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._boxes = boxes_of(self)

    def expect_packets(self, stream: VideoStream, time: int) -> None:
        """Packets of a stream are needed from here up to the one that is shown at ``time``, in its time base."""
        if self._boxes is None or not len(entries := stream.index_entries):
            return
        # The index is by the time of decoding, which is never later: behind the frame's packet come those that a
        # decoder wants before it gives that frame.
        last = entries.search_timestamp(time, any_frame=True)
        if last >= 0:
            last += _MORE
            packet = entries[last] if last < len(entries) else None
            self.expect(self._boxes.frames[1] if packet is None else packet.pos + packet.size)

    def skim(self, stream: VideoStream) -> Callable[[int], bool] | None:
        """From here on packets are counted and not decoded, and their content, where it can be, left where it is.

        Returns:
            What tells of a packet's number whether decoding can begin there, which FFmpeg looks up in the content;
            ``None`` where that is read as ever.
        """
        entries = stream.index_entries
        if self._boxes is None or stream.codec_context.name not in _UNREAD or len(entries) != stream.frames:
            return None
        self.payload = self._boxes.frames
        return lambda number: number < len(entries) and entries[number].is_keyframe
