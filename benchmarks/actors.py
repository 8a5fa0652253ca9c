"""Made people who do the same before one fixed camera: the near misses that share all but who moves, and when exactly.

Legend: T frames, H height, W width, C = 3 colours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def perform(ground_HWC: NDArray[np.uint8], place: int, actor: int, seconds: float, fps: float) -> NDArray[np.uint8]:
    """An actor waves (odd places) or bends (even ones) before a ground, uint8 ``[T, H, W, 3]``.

    Actors differ in build, clothes, reach, pace and where exactly they stand.
    """
    rng = np.random.default_rng([place, actor, 3])
    height, width = ground_HWC.shape[:2]
    y, x = np.mgrid[0:height, 0:width] / height
    tall, thick, pace = rng.uniform(0.6, 0.72), rng.uniform(0.035, 0.055), rng.uniform(0.92, 1.08)
    feet = np.array([0.93 + rng.normal(0, 0.01), width / height / 2 + rng.normal(0, 0.03)])
    skin, shirt, trousers = (rng.uniform(20, 235, 3) for _ in "123")
    reach, late = rng.uniform(0.8, 1.0), rng.uniform(0, 0.3)
    frames = np.empty((round(seconds * fps), *ground_HWC.shape), np.uint8)
    for t in range(len(frames)):
        turn = 2 * np.pi * (t / fps - late) / (pace * (1.4 if place % 2 else 3.0))
        lean = 0.0 if place % 2 else 0.75 * reach * (1 - np.cos(turn)) / 2 * np.pi / 1.5
        raised = reach * (1 + np.sin(turn)) * 1.2 if place % 2 else lean
        hip = feet - [0.5 * tall, 0]
        neck = hip - 0.33 * tall * np.array([np.cos(lean), -np.sin(lean)])
        picture = ground_HWC.astype(np.float64)
        for side in (-1, 1):
            foot = feet + np.array([0, side * 0.06])
            picture[_along(y, x, hip, foot) < thick] = trousers
            hand = neck + 0.3 * tall * np.array(
                [np.cos(raised), side * np.sin(raised) if place % 2 else np.sin(raised)]
            )
            picture[_along(y, x, neck + np.array([0.04, 0]), hand) < 0.6 * thick] = skin
        picture[_along(y, x, hip, neck) < 1.4 * thick] = shirt
        head = neck - 0.1 * tall * np.array([np.cos(lean), -np.sin(lean)])
        picture[np.hypot(y - head[0], x - head[1]) < 1.3 * thick] = skin
        frames[t] = np.clip(picture, 0, 255)
    return frames


def _along(y: Floats, x: Floats, one: Floats, other: Floats) -> Floats:
    """How far every pixel is from the line between two points."""
    way = other - one
    share = np.clip(((y - one[0]) * way[0] + (x - one[1]) * way[1]) / max(float(way @ way), 1e-9), 0, 1)
    away: Floats = np.hypot(y - one[0] - share * way[0], x - one[1] - share * way[1])
    return away
