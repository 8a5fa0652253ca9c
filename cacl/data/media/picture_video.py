"""Random access to the frames of a video that is a row of pictures, as ``VideoDecoder`` gives it of a video file.

Legend: T frames, H height and W width in pixels, C = 3 colours (RGB).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.clock import clock_of, frames_between, rate_between
from cacl.data.media.colours import AS_CODED, PixelRules
from cacl.data.media.cut import WHOLE, Cut
from cacl.data.media.decode import VideoInfo
from cacl.data.media.pixels import orientation_of, rgb
from cacl.data.media.timeline import Timeline
from cacl.errors import VideoError

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


class Pictures(Protocol):
    """What gives the pictures of one video."""

    path: str

    @property
    def durations(self) -> Sequence[int]:
        """Milliseconds that each picture is shown; empty where that is not known of all."""

    def __len__(self) -> int: ...

    def frame(self, i: int) -> VideoFrame:
        """Picture ``i`` from 0; a VideoError where it cannot be decoded."""

    def close(self) -> None:
        """Let go of the file."""


class PictureVideo:
    """The frames of a row of pictures; every one is the first that a decoder can begin with.

    Args:
        pictures: where they come from.
        rate: frames a second, where the pictures do not say.
        rules: how their pixels become RGB.

    Raises:
        VideoError: the first picture cannot be decoded.
    """

    def __init__(self, pictures: Pictures, *, rate: float = 0.0, rules: PixelRules = AS_CODED) -> None:
        self.path = pictures.path
        self.pictures = pictures
        first = pictures.frame(0)
        turned = orientation_of(first)
        width, height = (first.height, first.width) if turned.transpose else (first.width, first.height)
        self.rules = rules
        self._stated = [Fraction(rate).limit_denominator(10**6)] if rate else []
        self.timeline = self._timeline(len(pictures))
        fps = self.timeline.clock.rate
        self.info = VideoInfo(len(pictures), fps, width, height, turned.rotation, "pictures")

    @property
    def seconds(self) -> NDArray[np.float64]:
        """When each picture is shown, and when the last one ends: float64 ``[frames + 1]``, NaN if unknown."""
        return self.timeline.clock.seconds

    def rate(self, first: int, count: int) -> float:
        """Mean pictures a second of ``count`` from number ``first`` on; 0 when unknown."""
        return self.timeline.clock.rate if count == self.frames else rate_between(self.timeline.clock, first, count)

    @property
    def frames(self) -> int:
        """Pictures (up to the first that is broken, once that is known)."""
        return self.timeline.frames

    def read(
        self, indices_T: Sequence[int] | NDArray[np.int64], *, height: int, width: int, cut: Cut = WHOLE
    ) -> NDArray[np.uint8]:
        """The pictures of these numbers, uint8 RGB ``[T, height, width, 3]``; see ``VideoDecoder.read``."""
        wanted = sorted({int(i) for i in indices_T})
        if wanted and not (wanted[0] >= 0 and wanted[-1] < self.frames):
            raise IndexError(f"{self.path}: frames {wanted[0]} to {wanted[-1]} asked for, there are {self.frames}")
        got = {i: self._pixels(i, height, width, cut) for i in wanted}
        out = np.empty((len(indices_T), height, width, 3), np.uint8)
        for place, i in enumerate(indices_T):
            out[place] = got[int(i)]
        return out

    def iterate(self, *, height: int, width: int, cut: Cut = WHOLE) -> Iterator[NDArray[np.uint8]]:
        """Every picture in order, uint8 RGB ``[height, width, 3]`` each; a VideoError behind the last good one."""
        for i in range(self.frames):
            yield self._pixels(i, height, width, cut)

    def span(self, start: float, end: float | None) -> tuple[int, int]:
        """The pictures from ``start`` to before ``end`` seconds: number of the first, and count."""
        return frames_between(self.seconds, start, end)

    def verify(self) -> Timeline:
        """Decode every picture once; from then on the video ends before the first that is broken."""
        total = len(self.pictures)
        for i in range(total):
            try:
                self.pictures.frame(i)
            except VideoError as error:
                if i == 0:
                    raise
                self.timeline = self._timeline(i, broken=f"breaks at frame {i} of {total} ({error.reason})")
                break
        return self.timeline

    def close(self) -> None:
        """Let go of the file. Closing twice does no harm."""
        self.pictures.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _pixels(self, i: int, height: int, width: int, cut: Cut) -> NDArray[np.uint8]:
        frame = self.pictures.frame(i)
        return rgb(frame, orientation_of(frame), height=height, width=width, rules=self.rules, cut=cut)

    def _timeline(self, frames: int, *, broken: str = "") -> Timeline:
        durations = self.pictures.durations[:frames]
        starts = [*accumulate(durations, initial=0)][:frames] if durations else [None] * frames
        clock = clock_of(starts, durations, time_base=Fraction(1, 1000), rates=self._stated)
        return Timeline(frames, None, np.arange(frames), clock, broken=broken)
