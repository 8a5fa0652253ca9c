"""Small made scenes: a place that stays and squares that go their own ways in every take of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FPS = 12.5


def render(place: int, take: int, seconds: float = 8.0) -> NDArray[np.uint8]:
    """uint8 ``[T, 60, 80, 3]``."""
    rng = np.random.default_rng([place, 7])
    ground = np.full((60, 80, 3), rng.uniform(90, 160), np.float64)
    for _ in range(14):
        top, left = rng.integers(0, 55), rng.integers(0, 75)
        ground[top : top + rng.integers(4, 25), left : left + rng.integers(4, 25)] += rng.normal(0, 35)
    rng = np.random.default_rng([place, take, 8])
    count = round(seconds * FPS)
    frames = np.repeat(ground[None], count, axis=0)
    for _ in range(3):
        turns = np.arange(count)[:, None] / FPS / rng.uniform(2.5, 6, 2) + rng.random(2)
        at = ((np.sin(2 * np.pi * turns) * 0.4 + 0.5) * [48, 68]).astype(int)
        colour = rng.choice([-1, 1]) * rng.uniform(40, 80)
        for frame, (top, left) in zip(frames, at, strict=True):
            frame[top : top + 12, left : left + 12] += colour
    return np.clip(frames, 0, 255).astype(np.uint8)
