"""Small videos of two classes: a square that moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cacl.data.media.encode import write_video


def square(count: int = 40, seed: int = 0, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """A square of one colour that moves over a background of another, ``[count, height, width, 3]``."""
    rng = np.random.default_rng(seed)
    frames = np.empty((count, height, width, 3), np.uint8)
    frames[:] = rng.integers(30, 120, 3)
    colour, speed = rng.integers(150, 255, 3), rng.integers(1, 4, 2)
    start = rng.integers(0, 30, 2)
    for t in range(count):
        y, x = (start + speed * t) % (height - 12, width - 12)
        frames[t, y : y + 12, x : x + 12] = colour
    return frames


def make_squares(folder: Path, *, count: int = 12) -> Path:
    """``train/CLASS`` and ``test/CLASS`` with ``count`` videos of two classes, a third of them for testing."""
    for number in range(count):
        place = folder / ("train" if number < count * 2 // 3 else "test") / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        write_video(place / f"v{number:02}.mp4", square(seed=number))
    return folder
