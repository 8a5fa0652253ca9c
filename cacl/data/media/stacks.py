"""Animated WebP and stacks of TIFF, which FFmpeg takes for still images: read by Pillow, a page a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from cacl.data.media.stream import MAX_PIXELS, MAX_SIDE
from cacl.errors import VideoError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
STILL = "a still image, not a video"


def is_stack(path: str) -> bool:
    """Whether a file begins as TIFF, or as a WebP that is animated."""
    try:
        with open(path, "rb") as file:
            head = file.read(40)
    except OSError:
        return False
    animated = head[12:16] == b"VP8X" and bool(head[20] & 2) if len(head) > 20 else False
    return head.startswith(_TIFF) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP" and animated)


class Stack:
    """The pages of a file.

    Attributes:
        durations: how many milliseconds each is shown, of an animation that says so of all.

    Raises:
        VideoError: it cannot be opened, or has one page.
    """

    def __init__(self, path: str) -> None:
        from PIL import Image

        Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # of this process; above twice that it refuses, below we do
        self.path = path
        try:
            self._image: Any = Image.open(path, formats=("TIFF", "WEBP"))
            self._pages = int(getattr(self._image, "n_frames", 1))
        except Exception as error:  # a parser of files that anybody may have sent: it raises all kinds
            raise VideoError(path, f"cannot be opened as a video ({_words(error)})") from None
        if self._pages < 2:
            self.close()
            raise VideoError(path, STILL)
        durations = _durations(path) if self._image.format == "WEBP" else ()
        self.durations = durations if len(durations) == self._pages and all(durations) else ()

    def __len__(self) -> int:
        return self._pages

    def frame(self, i: int) -> VideoFrame:
        """Page ``i``. Raises VideoError where it cannot be decoded."""
        import av

        try:
            self._image.seek(i)
            width, height = self._image.size
            if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
                raise ValueError(f"{width}×{height} pixels")
            mode = str(self._image.mode)
            if mode.startswith("I;16"):
                return av.VideoFrame.from_ndarray(np.asarray(self._image).astype(np.uint16), format="gray16le")
            if mode in ("I", "F"):
                raise ValueError("32 bits a pixel, of which nothing says what is black and what is white")
            grey = mode in ("1", "L", "LA")
            pixels = np.ascontiguousarray(self._image.convert("L" if grey else "RGB"))
            return av.VideoFrame.from_ndarray(pixels, format="gray" if grey else "rgb24")
        except Exception as error:
            raise VideoError(self.path, f"page {i} of {self._pages} cannot be decoded ({_words(error)})") from None

    def close(self) -> None:
        """Close the file."""
        self._image.close()


def _durations(path: str) -> tuple[int, ...]:
    """What an animated WebP says of its frames; Pillow would have to decode them all."""
    found, at = [], 12
    with open(path, "rb") as file:
        file.seek(at)
        while len(head := file.read(24)) == 24:
            if head.startswith(b"ANMF"):
                found.append(int.from_bytes(head[20:23], "little"))
            size = int.from_bytes(head[4:8], "little")
            at += 8 + size + size % 2
            file.seek(at)
    return tuple(found)


def _words(error: Exception) -> str:
    return str(error).split("\n")[0].strip().rstrip(".").lower() or type(error).__name__
