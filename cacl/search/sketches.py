"""Small grey pictures of videos, eight a second: all that most pairs of stretches are looked at by.

A video is decoded once for them, however many others it is compared with. They are kept, those used last, and made anew
where they are not.

Legend: T moments, H height and W width in pixels.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cacl.search.register import HEIGHT, WHOLE, grey

Floats = NDArray[np.float64]
FramesOf = Callable[[Floats], NDArray[np.uint8]]
"""Frames of one video at these times, seconds, rising: uint8 ``[T, H, W, 3]``, of any one size."""
Frames = Callable[[int, Floats], NDArray[np.uint8]]
"""As ``FramesOf``, of the video with this number; raises VideoError."""

RATE = 8  # a second
_BLOCK = 128  # are made at once
_KEPT = 2**30  # bytes: of twelve hours of video


@dataclass(frozen=True)
class Film:
    """A video that is looked at.

    Attributes:
        length: seconds.
        frames: reads it.
        sketches: its small pictures nearest to some times, seconds, rising: uint8 ``[T, HEIGHT, W]``.
    """

    length: float
    frames: FramesOf
    sketches: FramesOf


class Sketches:
    """Makes them, and keeps them; for any number of threads."""

    def __init__(self, frames: Frames, lengths: Sequence[float]) -> None:
        """Args: ``frames`` reads videos; ``lengths`` of them, seconds."""
        self._frames, self._lengths = frames, lengths
        self._kept = OrderedDict[tuple[int, int], NDArray[np.uint8]]()
        self._bytes = 0
        self._lock = threading.Lock()

    def film(self, video: int) -> Film:
        """The video with this number."""
        return Film(
            self._lengths[video],
            lambda times: self._frames(video, times),
            lambda times: self._nearest(video, times),
        )

    def _nearest(self, video: int, times: Floats) -> NDArray[np.uint8]:
        last = max(0, int(self._lengths[video] * RATE - 1e-6))
        numbers = np.clip((times * RATE).round().astype(np.int64), 0, last)
        blocks = np.unique(numbers // _BLOCK)
        pictures = np.concatenate([self._block(video, block, last) for block in blocks.tolist()])
        found: NDArray[np.uint8] = pictures[np.searchsorted(blocks, numbers // _BLOCK) * _BLOCK + numbers % _BLOCK]
        return found

    def _block(self, video: int, block: int, last: int) -> NDArray[np.uint8]:
        key = video, block
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        numbers = np.arange(block * _BLOCK, min((block + 1) * _BLOCK, last + 1))
        pictures = grey(self._frames(video, numbers / RATE), HEIGHT, WHOLE)
        made: NDArray[np.uint8] = pictures.round().clamp(0, 255).byte().numpy()
        with self._lock:
            if key not in self._kept:  # another thread may have made the same meanwhile
                self._kept[key] = made
                self._bytes += made.nbytes
            while self._bytes > _KEPT and len(self._kept) > 1:
                self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return made
