"""A closer look at what seems a copy: larger pictures, laid over each other finely, at moments that match finely.

Before a fixed camera, takes of one act share the place and the rough course of what moves: an arm goes up here, another
there. At ``SIDE`` pixels of a place that is shared, what moves has its own shape and moment in every take, and agrees
nearly everywhere in copies only. Each moment may lie one step beside the line in time, for a copy may have frames left
out or twice, and what counts first is the median over moments: one that a caption or a cut spoils does no harm. A copy
that is coded coarsely agrees less, but as much at nearly all moments; a take that agrees as much at half of them falls
far behind at some. Moments weigh as much as moves in them, so those at which nothing does say nothing.

Legend: T moments of the first stretch, K moments of the second for each, H height, W width, J pairs of frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from cacl.search.register import HEIGHT, Registration, Window, edges, grey
from cacl.search.sketches import FramesOf

SIDE = 64  # pixels of what both show, either way
_TALL = 96  # pixels of a whole picture
_MOMENTS, _PAIRS = 24, 6
_AROUND = np.arange(-4, 5) * 0.04  # seconds by which moments may still be wrong
_TURNS = (0, -1, 1, -2, 2)  # steps of _AROUND, at either end of the stretch
_HALVINGS, _ROUNDS = 4, 4  # of the steps of where a picture lies


class Agreement(NamedTuple):
    """Agreement of what moves, -1 to 1.

    Attributes:
        half: reached at half of the moments.
        most: reached at nine of ten.
    """

    half: float
    most: float


@dataclass(frozen=True)
class Side:
    """One of two stretches.

    Attributes:
        frames: reads its video.
        window: the part of its pictures that is no bars.
    """

    frames: FramesOf
    window: Window


@dataclass(frozen=True)
class _Lie:
    """Where the second picture lies in the first, pixels at ``_TALL``; as ``Registration``, finer."""

    top: float
    left: float
    scale: float

    def steps(self, step: float, size: tuple[int, int]) -> list[_Lie]:
        """Those a step away; one that is scaled stays where its middle is."""
        around = [_Lie(self.top + sign * step, self.left, self.scale) for sign in (-1, 1)]
        around += [_Lie(self.top, self.left + sign * step, self.scale) for sign in (-1, 1)]
        for more in (-0.02 * step, 0.02 * step):
            top, left = self.top - more * size[0] / 2, self.left - more * size[1] / 2
            around.append(_Lie(top, left, self.scale + more))
        return around


def look_closer(
    first: Side, second: Side, found: Registration, *, a: tuple[float, float], speed: float, offset: float, last: float
) -> Agreement:
    """Agreement of what moves, at pictures of ``SIDE`` pixels.

    Args:
        first: the one video.
        second: the other.
        found: how the second lies in the first.
        a: start and end in the first, seconds.
        speed: seconds of the second for a second of the first.
        offset: time in the second, seconds, at the first's 0.
        last: time of the second's last frame, seconds.
    """
    edge = min(0.1, (a[1] - a[0]) / 10)
    times = np.linspace(a[0] + edge, a[1] - edge, _MOMENTS)
    around = np.clip(speed * times[:, None] + offset + _AROUND, 0, max(last, 0))
    wanted, flat = np.unique(around, return_inverse=True)
    back = torch.from_numpy(flat.reshape(around.shape))
    ours_THW = grey(first.frames(times), _TALL, first.window)
    theirs_UHW = grey(second.frames(wanted), _TALL, second.window)
    if found.mirrored:
        theirs_UHW = theirs_UHW.flip(2)
    lie = _Lie(found.shift[0] * _TALL / HEIGHT, found.shift[1] * _TALL / HEIGHT, found.scale)
    chosen = torch.linspace(0, _MOMENTS - 1, _PAIRS).round().long()
    column = torch.full((_MOMENTS,), len(_AROUND) // 2)
    agreement = Agreement(0.0, 0.0)
    for _ in range(2):  # once as aligned, once as the first look says it is
        lie = _laid(ours_THW[chosen], theirs_UHW[back[chosen, column[chosen]]], lie)
        agreement, column = _agreement(*_cut(ours_THW, theirs_UHW, lie), back)
    return agreement


def _laid(ours_JHW: Tensor, theirs_JHW: Tensor, lie: _Lie) -> _Lie:
    """Where edges agree most, by steps that become smaller."""

    def fit(lie: _Lie) -> float:
        one, other = (edges(picture) for picture in _cut(ours_JHW, theirs_JHW, lie))
        return float((one * other).sum() / (one.norm() * other.norm()).clamp_min(1e-6))

    best = fit(lie)
    for step in 0.5 ** np.arange(_HALVINGS):
        for _ in range(_ROUNDS):
            values = {one: fit(one) for one in lie.steps(float(step), (theirs_JHW.shape[1], theirs_JHW.shape[2]))}
            nearer = max(values, key=lambda one: values[one])
            if values[nearer] <= best + 1e-5:
                break
            lie, best = nearer, values[nearer]
    return lie


def _cut(ours_THW: Tensor, theirs_UHW: Tensor, lie: _Lie) -> tuple[Tensor, Tensor]:
    """What both show, brought to ``[T, SIDE, SIDE]`` and ``[U, SIDE, SIDE]``."""
    boxes = []
    for axis, corner in ((1, lie.top), (2, lie.left)):
        low = max(0.0, corner)
        high = min(float(ours_THW.shape[axis]), corner + theirs_UHW.shape[axis] * lie.scale)
        boxes.append((low, high))
    inside = [
        ((low - corner) / lie.scale, (high - corner) / lie.scale)
        for (low, high), corner in zip(boxes, (lie.top, lie.left), strict=True)
    ]
    return _sampled(ours_THW, boxes), _sampled(theirs_UHW, inside)


def _sampled(frames_THW: Tensor, box: list[tuple[float, float]]) -> Tensor:
    middle = (torch.arange(SIDE) + 0.5) / SIDE
    y, x = (
        2 * (low + middle * (high - low)) / size - 1
        for (low, high), size in zip(box, frames_THW.shape[1:], strict=True)
    )
    grid = torch.stack([x[None].expand(SIDE, SIDE), y[:, None].expand(SIDE, SIDE)], dim=2)
    places = grid[None].expand(len(frames_THW), -1, -1, -1)
    return grid_sample(frames_THW[:, None], places, padding_mode="border", align_corners=False)[:, 0]


def _agreement(mine_TSS: Tensor, other_USS: Tensor, back_TK: Tensor) -> tuple[Agreement, Tensor]:
    """Of what moves, near the line in time on which it is most, and which of K moments that takes, ``[T]``."""
    mine, other = (part.flatten(1) - part.mean(dim=(1, 2))[:, None] for part in (mine_TSS, other_USS))
    mine = mine - mine.mean(dim=0)
    rows, last = torch.arange(len(mine)), len(_AROUND) - 1
    lean = torch.linspace(-1, 1, len(mine))
    best = (-1.0, torch.full((len(mine),), last // 2))
    for turn in _TURNS:
        for shift in range(last + 1):
            column = (shift + turn * lean).round().long().clamp(0, last)
            theirs = other[back_TK[rows, column]]
            theirs = theirs - theirs.mean(dim=0)
            agreement = float((mine * theirs).sum() / (mine.norm() * theirs.norm()).clamp_min(1e-6))
            if agreement > best[0]:
                best = (agreement, column)
    beside = (best[1][:, None] + torch.arange(-1, 2)).clamp(0, last)
    near = other[back_TK.gather(1, beside)] - other[back_TK[rows, best[1]]].mean(dim=0)
    column = beside.gather(1, _alike(mine[:, None], near).argmax(dim=1, keepdim=True))[:, 0]
    theirs = other[back_TK[rows, column]]
    alike, weights = _alike(mine, theirs - theirs.mean(dim=0)), mine.square().sum(dim=1)
    return Agreement(_reached(alike, weights, 0.5), _reached(alike, weights, 0.9)), column


def _alike(mine: Tensor, theirs: Tensor) -> Tensor:
    alike: Tensor = (mine * theirs).sum(dim=-1) / (mine.norm(dim=-1) * theirs.norm(dim=-1)).clamp_min(1e-6)
    return alike


def _reached(values: Tensor, weights: Tensor, share: float) -> float:
    """What this share of the weight reaches or exceeds."""
    order = values.argsort()
    sums = weights[order].cumsum(dim=0)
    return float(values[order[int((sums < sums[-1] * (1 - share)).sum().clamp_max(len(values) - 1))]])
