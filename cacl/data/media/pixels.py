"""From a decoded frame to upright RGB pixels of one size.

One scaler serves a whole thread: making one for each frame costs more than the scaling of small video, and two threads
in one scaler crash the process.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.cut import WHOLE, Cut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from av.buffer import Buffer
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter

_own = threading.local()  # .scaler of this thread


class Orientation(NamedTuple):
    """How stored pixels become upright: rows and columns change places first, then each axis may be reversed."""

    transpose: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @property
    def rotation(self) -> int:
        """Degrees clockwise: 0, 90, 180 or 270 (of a mirrored picture: without the mirroring)."""
        return {
            (False, True, True): 180,
            (True, True, False): 90,
            (True, False, True): 270,
        }.get((self.transpose, self.flip_x, self.flip_y), 0)


def orientation_of(frame: VideoFrame) -> Orientation:
    """Read the display matrix that a camera wrote: x' = a·x + c·y, y' = b·x + d·y (ISO/IEC 14496-12, 6.2.2)."""
    try:
        data = cast("Mapping[str, Buffer]", frame.side_data).get("DISPLAYMATRIX")
    except ValueError:  # PyAV does not know some other side data of this frame
        return Orientation()
    if data is None:
        return Orientation()
    a, b, _, c, d = np.frombuffer(bytes(data), np.int32)[:5].tolist()
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(transpose=False, flip_x=a < 0, flip_y=d < 0)
    return Orientation(transpose=True, flip_x=c < 0, flip_y=b < 0)


def rgb(frame: VideoFrame, orientation: Orientation, *, height: int, width: int, cut: Cut = WHOLE) -> NDArray[np.uint8]:
    """One frame as uint8 RGB ``[height, width, 3]``, stretched (bilinear, every source pixel counts) and upright.

    Args:
        cut: the part of it that is seen, in pixels of the upright frame.
    """
    if cut != WHOLE:
        from av import VideoFrame as Frame

        turned = orientation.transpose
        rows, columns = (frame.width, frame.height) if turned else (frame.height, frame.width)
        upright = np.ascontiguousarray(rgb(frame, orientation, height=rows, width=columns))
        frame, orientation = Frame.from_ndarray(cut.of(upright), format="rgb24"), Orientation()
    scaler: VideoReformatter | None = getattr(_own, "scaler", None)
    if scaler is None:
        from av.video.reformatter import VideoReformatter

        scaler = _own.scaler = VideoReformatter()
    rows, columns = (width, height) if orientation.transpose else (height, width)
    # At its own size nothing is interpolated, whatever the number of bits; FFmpeg by itself would smooth the colours of
    # 10-bit video but not those of 8-bit video.
    kernel = "POINT" if (rows, columns) == (frame.height, frame.width) else "BILINEAR"
    scaled = scaler.reformat(frame, columns, rows, "rgb24", interpolation=kernel, threads=1)
    pixels = cast("NDArray[np.uint8]", scaled.to_ndarray())
    if orientation.transpose:
        pixels = pixels.transpose(1, 0, 2)
    return pixels[:: -1 if orientation.flip_y else 1, :: -1 if orientation.flip_x else 1]
