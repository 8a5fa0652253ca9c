"""Which part of a frame is seen: a region cut out of it, and boxes painted black, such as a burned-in clock."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]  # x and y of the upper left corner, width, height; pixels of the frame as shown


class Cut(NamedTuple):
    """What is done to a frame before it is stretched.

    Attributes:
        region: all that is seen; ``None`` for the whole frame.
        blank: boxes that are black, of the whole frame; what reaches beyond it does not count.
    """

    region: Box | None = None
    blank: tuple[Box, ...] = ()

    def of(self, frame_HWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The part of an upright frame that is seen, uint8 ``[h, w, 3]``; the frame is painted on."""
        for x, y, w, h in self.blank:
            frame_HWC[y : y + h, x : x + w] = 0
        if self.region is None:
            return frame_HWC
        x, y, w, h = self.region
        return np.ascontiguousarray(frame_HWC[y : y + h, x : x + w])


WHOLE = Cut()


def fits(region: Box, *, width: int, height: int) -> bool:
    """Whether a region lies in a frame of this size."""
    x, y, w, h = region
    return 0 <= x < x + w <= width and 0 <= y < y + h <= height


def box_of(text: str) -> Box | None:
    """``"10,20,300,40"`` as a box, or ``None`` where it is none."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) < 7 for part in parts):
        return None
    x, y, w, h = map(int, parts)
    return (x, y, w, h) if w and h else None
