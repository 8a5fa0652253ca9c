"""What the demo's moving objects look like, each look a picture in the object's own coordinates.

A look takes coordinates in units of the object's radius and says where the object is (``alpha``) and which of its two
colours it shows there (``tone``), both softened over one pixel so that slow motion stays smooth.

Legend: T frames, S side of the square box around the object in pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Look = Callable[[Field, Field, Field], tuple[Field, Field]]
"""``look(u_TSS, v_TSS, pixel_T11) -> (alpha_TSS, tone_TSS)``: u right and v down in radii, ``pixel`` one pixel in
radii; both answers lie in [0, 1], and alpha is 0 outside the unit circle."""


def ring(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """A plain ring with a wide hole."""
    r = np.hypot(u, v)
    return _inside(np.float32(0.22) - np.abs(r - np.float32(0.74)), pixel), _flat(u)


def cross(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """A plus sign with arms a third as wide as long."""
    a, b = np.abs(u), np.abs(v)
    long, short = np.maximum(a, b), np.minimum(a, b)
    return _inside(np.minimum(np.float32(0.92) - long, np.float32(0.27) - short), pixel), _flat(u)


def stripes(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """A disc with parallel stripes, two and a half periods across."""
    return _disc(u, v, pixel), _wave(u * np.float32(2.4 * np.pi), pixel * np.float32(2.4 * np.pi))


def checks(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """A square chessboard of four by four fields."""
    k = np.float32(2 * np.pi / 0.7)
    product = np.sin(u * k) * np.sin(v * k)
    tone = np.clip(product / (pixel * k) + np.float32(0.5), 0, 1)
    return _inside(np.float32(0.7) - np.maximum(np.abs(u), np.abs(v)), pixel), tone


def dots(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """Seven separate discs: one in the middle, six around it."""
    sixth = np.float32(np.pi / 3)
    r, angle = np.hypot(u, v), np.arctan2(v, u)
    angle = angle - np.round(angle / sixth) * sixth
    outer = np.hypot(r * np.cos(angle) - np.float32(0.68), r * np.sin(angle))
    return _inside(np.float32(0.25) - np.minimum(outer, r), pixel), _flat(u)


def triangle(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """A filled triangle with equal sides."""
    slant = np.float32(np.sqrt(0.75))
    edge = np.maximum(np.abs(u) * slant - v * np.float32(0.5), v)
    return _inside(np.float32(0.48) - edge, pixel), _flat(u)


def pinwheel(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """A disc of eight sectors in two colours."""
    four = np.float32(4)
    r: Field = np.maximum(np.hypot(u, v), pixel)
    return _disc(u, v, pixel), _wave(four * np.arctan2(v, u), four * pixel / r)


def bullseye(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """A disc of rings, one inside the other."""
    k = np.float32(2.6 * np.pi)
    return _disc(u, v, pixel), _wave(np.hypot(u, v) * k, pixel * k)


def star(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """A star of five rays."""
    fifth = np.float32(2 * np.pi / 5)
    r, angle = np.hypot(u, v), np.arctan2(u, -v)
    angle = np.abs(angle - np.round(angle / fifth) * fifth)
    reach = np.float32(0.34) - (np.float32(0.34 / 0.97) * r * np.cos(angle) + np.float32(0.55) * r * np.sin(angle))
    return _inside(reach * np.float32(1.5), pixel), _flat(u)


def frame(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """A square picture frame, hollow inside."""
    side = np.maximum(np.abs(u), np.abs(v))
    return _inside(np.float32(0.13) - np.abs(side - np.float32(0.56)), pixel), _flat(u)


def blob(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """A round patch with soft edges; no class has it."""
    return np.clip(np.float32(1.2) * (1 - np.hypot(u, v)), 0, 1), _flat(u)


def slab(u: Field, v: Field, pixel: Field) -> tuple[Field, Field]:
    """A plain rectangle; no class has it."""
    return _inside(np.float32(0.7) - np.maximum(np.abs(u), np.abs(v)), pixel), _flat(u)


def _inside(depth: Field, pixel: Field) -> Field:
    """Coverage from the depth below the outline (radii, positive inside), softened over one pixel."""
    cover: Field = np.clip(depth / pixel + np.float32(0.5), 0, 1)
    return cover


def _disc(u: Field, v: Field, pixel: Field) -> Field:
    return _inside(np.float32(0.96) - np.hypot(u, v), pixel)


def _wave(phase: Field, pixel: Field) -> Field:
    """A square wave of ``phase`` (radians) whose flanks are one pixel wide."""
    return np.clip(np.sin(phase) / pixel + np.float32(0.5), 0, 1)


def _flat(u: Field) -> Field:
    return np.zeros_like(u)
