"""How the demo's objects move: each motion a path, a turn and a stretch as functions of a phase.

A motion never rests and never leaps: neighbouring frames always differ a little, so the order of frames can be read
from them.

Legend: T frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Course = NDArray[np.float64]


@dataclass(frozen=True)
class Pose:
    """Where an object is at each of T frames; every field float64 ``[T]``.

    ``x`` (right) and ``y`` (down) are offsets from its home in radii, ``angle`` is in radians (clockwise as shown),
    ``width`` and ``height`` are factors on its radius, above 0.
    """

    x: Course
    y: Course
    angle: Course
    width: Course
    height: Course


Motion = Callable[[Course, float], Pose]
"""``motion(phase_T, sign) -> Pose``: phase in turns (1 = one period), ``sign`` ±1 mirrors the motion left to right."""


def bounce(phase: Course, sign: float) -> Pose:
    """Hops on the spot like a ball, flatter when it lands."""
    t = phase % 1
    up = 4 * t * (1 - t)
    squash = 1 - 0.35 * np.clip(1 - up / 0.3, 0, 1)
    return _pose(phase, y=0.9 - 1.8 * up, width=1 / squash, height=squash)


def spin(phase: Course, sign: float) -> Pose:
    """Turns on the spot, always the same way."""
    return _pose(phase, angle=sign * np.pi * phase)


def swing(phase: Course, sign: float) -> Pose:
    """Swings to and fro like a pendulum hung above it."""
    angle = sign * 0.95 * np.sin(np.pi * phase)
    return _pose(phase, x=-1.6 * np.sin(angle), y=1.6 * np.cos(angle) - 1.3, angle=angle)


def pulse(phase: Course, sign: float) -> Pose:
    """Grows and shrinks on the spot."""
    size = np.exp(0.42 * np.sin(2 * np.pi * phase)) * 0.85
    return _pose(phase, width=size, height=size)


def orbit(phase: Course, sign: float) -> Pose:
    """Runs round a circle without turning."""
    return _pose(phase, x=sign * 0.9 * np.sin(2 * np.pi * phase), y=-0.9 * np.cos(2 * np.pi * phase))


def zigzag(phase: Course, sign: float) -> Pose:
    """Climbs and falls on straight lines while it drifts sideways and back."""
    tooth = 4 * np.abs(phase % 1 - 0.5) - 1
    return _pose(phase, x=sign * 1.2 * np.sin(0.5 * np.pi * phase), y=tooth)


def roll(phase: Course, sign: float) -> Pose:
    """Rolls to one side and back, turning as a wheel does."""
    x = sign * 1.3 * np.sin(np.pi * phase)
    return _pose(phase, x=x, angle=x)


def squeeze(phase: Course, sign: float) -> Pose:
    """Grows wide and flat, then narrow and tall."""
    stretch = np.exp(0.4 * np.sin(2 * np.pi * phase))
    return _pose(phase, width=stretch * 0.9, height=0.9 / stretch)


def jump(phase: Course, sign: float) -> Pose:
    """Leaps sideways in high arcs, there and back, half a turn each time."""
    t = phase % 2
    there = np.where(t < 1, t, 2 - t)
    hop = t % 1
    return _pose(phase, x=sign * (2 * there - 1), y=0.7 - 5.2 * hop * (1 - hop), angle=sign * np.pi * there)


def figure(phase: Course, sign: float) -> Pose:
    """Draws a lying figure of eight."""
    return _pose(phase, x=sign * 1.1 * np.sin(np.pi * phase), y=0.8 * np.sin(2 * np.pi * phase))


def _pose(
    phase: Course,
    *,
    x: Course | None = None,
    y: Course | None = None,
    angle: Course | None = None,
    width: Course | None = None,
    height: Course | None = None,
) -> Pose:
    zero, one = np.zeros_like(phase), np.ones_like(phase)
    return Pose(
        x=zero if x is None else x,
        y=zero if y is None else y,
        angle=zero if angle is None else angle,
        width=one if width is None else width,
        height=one if height is None else height,
    )
