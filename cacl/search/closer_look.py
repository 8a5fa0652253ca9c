"""A closer look at what seems a copy: larger pictures, laid over each other finely, at moments that match finely.

Before a fixed camera, takes of one act share the place and the rough course of what moves: an arm goes up here, another
there. At ``SIDE`` pixels of a place that is shared, what moves has its own shape and moment in every take, and agrees
nearly everywhere in copies only. Each moment may lie one step beside the line in time, for a copy may have frames left
out or twice, and what counts first is the median over moments: one that a caption or a cut spoils does no harm. A copy
that is coded coarsely agrees less, but as much at nearly all moments; a take that agrees as much at half of them falls
far behind at some. Moments weigh as much as moves in them, so those at which nothing does say nothing.

Three things part copies that are none the less the same:

- **Frames left out** (fewer a second, played faster): half of the moments of one have no frame in the other. But each
  frame that is left is one of the other's. So the stretches are looked at both ways, and the better way counts.
- **Other colours**: a thing stands out of its ground by another amount. So what is compared with the grey of one is
  that mixture of the other's red, green and blue that is most like it.
- **Coarse coding**: what differs is then noise. Between takes it is something else: what moves is a little beside where
  it was, or in another light. That is measured by how much of the difference a small shift, or a change of light, of
  each part of the picture explains.

Legend: T moments of one stretch, K moments of the other for each, H height, W width, J pairs of frames, S = SIDE,
B blocks of P pixels, D ways to differ, L ways to lie.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, pad, unfold

from cacl.search.register import GREY, HEIGHT, Registration, Window, colours, edges, grey
from cacl.search.sketches import Floats, FramesOf

COPY = 0.8  # agreement: of takes few reach it; copies at half of few frames reach .85 (made)
SURE = 0.975  # the same: one man who squats again and again reaches .969, copies that are there .985 and more (UCF101)
SURE_THROUGHOUT = 0.93  # at nine moments of ten: takes reach .917 there (UCF101)
# All three at once: copies that are coded coarsely reach .9, .83, and at most .23 (made, and of UCF101); of 161 takes
# of UCF101 that reach .8 those that reach .88 have .36 and more, and those below .3 no more than .82 and .7.
NOISE, NOISE_THROUGHOUT, NOISE_BESIDE = 0.88, 0.8, 0.25

SIDE = 64  # pixels of what both show, either way
_TALL = 96  # pixels of a whole picture
_MOMENTS, _PAIRS = 24, 6
_AROUND = np.arange(-4, 5) * 0.04  # seconds by which moments may still be wrong
_TURNS = (0, -1, 1, -2, 2)  # steps of _AROUND, at either end of the stretch
_HALVINGS, _ROUNDS = 4, 4  # of the steps of where a picture lies
_BOTH_WAYS = 0.7  # agreement from which on the other way is looked at, too
_BLOCK = 8  # pixels of the parts that may be shifted


class Agreement(NamedTuple):
    """Agreement of what moves, -1 to 1.

    Attributes:
        half: reached at half of the moments.
        most: reached at nine of ten.
        beside: share of the difference that small shifts and changes of light explain, 0 to 1.
    """

    half: float
    most: float
    beside: float

    @property
    def sure(self) -> bool:
        """Whether no other take could agree like that."""
        noise = self.half >= NOISE and self.most >= NOISE_THROUGHOUT and self.beside <= NOISE_BESIDE
        return self.half >= SURE or self.most >= SURE_THROUGHOUT or noise


@dataclass(frozen=True)
class Side:
    """One of two stretches.

    Attributes:
        frames: reads its video.
        window: the part of its pictures that is no bars.
        last: time of its last frame, seconds.
        mirrored: whether its pictures are turned left to right first.
    """

    frames: FramesOf
    window: Window
    last: float
    mirrored: bool = False

    def grey(self, times: Floats) -> Tensor:
        """Its pictures, ``[T, _TALL, W]``."""
        pictures = grey(self.frames(times), _TALL, self.window)
        return pictures.flip(2) if self.mirrored else pictures

    def colours(self, times: Floats) -> Tensor:
        """Its pictures, red, green and blue one after the other, ``[3 T, _TALL, W]``."""
        pictures = colours(self.frames(times), _TALL, self.window).flatten(0, 1)
        return pictures.flip(2) if self.mirrored else pictures


@dataclass(frozen=True)
class _Lie:
    """Where the second picture lies in the first, pixels at ``_TALL``; as ``Registration``, finer."""

    top: float
    left: float
    scale: float

    def turned(self) -> _Lie:
        """Where the first lies in the second."""
        return _Lie(-self.top / self.scale, -self.left / self.scale, 1 / self.scale)

    def steps(self, step: float, size: tuple[int, int]) -> list[_Lie]:
        """Those a step away; one that is scaled stays where its middle is."""
        around = [_Lie(self.top + sign * step, self.left, self.scale) for sign in (-1, 1)]
        around += [_Lie(self.top, self.left + sign * step, self.scale) for sign in (-1, 1)]
        for more in (-0.02 * step, 0.02 * step):
            top, left = self.top - more * size[0] / 2, self.left - more * size[1] / 2
            around.append(_Lie(top, left, self.scale + more))
        return around


def look_closer(
    first: Side, second: Side, found: Registration, *, a: tuple[float, float], speed: float, offset: float
) -> Agreement:
    """Agreement of what moves, at pictures of ``SIDE`` pixels.

    Args:
        first: the one video.
        second: the other.
        found: how the second lies in the first.
        a: start and end in the first, seconds.
        speed: seconds of the second for a second of the first.
        offset: time in the second, seconds, at the first's 0.
    """
    second = replace(second, mirrored=found.mirrored)
    lie = _Lie(found.shift[0] * _TALL / HEIGHT, found.shift[1] * _TALL / HEIGHT, found.scale)
    one = _look(first, second, lie, within=a, speed=speed, offset=offset)
    if one.sure or one.half < _BOTH_WAYS:
        return one
    b = (speed * a[0] + offset, speed * a[1] + offset)
    other = _look(second, first, lie.turned(), within=b, speed=1 / speed, offset=-offset / speed)
    return max(one, other, key=lambda agreement: (agreement.sure, agreement.half))


def _look(mine: Side, other: Side, lie: _Lie, *, within: tuple[float, float], speed: float, offset: float) -> Agreement:
    """Frames of one at some moments, looked for in the other."""
    edge = min(0.1, (within[1] - within[0]) / 10)
    times = np.linspace(within[0] + edge, within[1] - edge, _MOMENTS)
    around = np.clip(speed * times[:, None] + offset + _AROUND, 0, max(other.last, 0))
    wanted, flat = np.unique(around, return_inverse=True)
    back = torch.from_numpy(flat.reshape(around.shape))
    ours_THW, theirs_UHW = mine.grey(times), other.grey(wanted)
    chosen = torch.linspace(0, _MOMENTS - 1, _PAIRS).round().long()
    column = torch.full((_MOMENTS,), len(_AROUND) // 2)
    for _ in range(2):  # once as aligned, once as the first look says it is
        lie = _laid(ours_THW[chosen], theirs_UHW[back[chosen, column[chosen]]], lie)
        column = _same_moments(*_cut(ours_THW, theirs_UHW, [lie]), back)
    at = around[np.arange(_MOMENTS), column.numpy()]
    ours, theirs = _cut(mine.colours(times), other.colours(at), [lie])
    return _agreement(*(part.reshape(_MOMENTS, 3, SIDE, SIDE) for part in (ours, theirs)))


def _laid(ours_JHW: Tensor, theirs_JHW: Tensor, lie: _Lie) -> _Lie:
    """Where edges agree most, by steps that become smaller."""

    def fits(lies: list[_Lie]) -> list[float]:
        one, other = (edges(pictures).reshape(len(lies), -1) for pictures in _cut(ours_JHW, theirs_JHW, lies))
        return _alike(one, other).tolist()

    (best,) = fits([lie])
    for step in 0.5 ** np.arange(_HALVINGS):
        for _ in range(_ROUNDS):
            steps = lie.steps(float(step), (theirs_JHW.shape[1], theirs_JHW.shape[2]))
            values = fits(steps)
            if max(values) <= best + 1e-5:
                break
            best = max(values)
            lie = steps[values.index(best)]
    return lie


def _cut(ours_THW: Tensor, theirs_UHW: Tensor, lies: list[_Lie]) -> tuple[Tensor, Tensor]:
    """What both show, for one lie after the other, brought to ``[L T, SIDE, SIDE]`` and ``[L U, SIDE, SIDE]``."""
    ours, theirs = [], []
    for lie in lies:
        boxes = []
        for axis, corner in ((1, lie.top), (2, lie.left)):
            low = max(0.0, corner)
            high = min(float(ours_THW.shape[axis]), corner + theirs_UHW.shape[axis] * lie.scale)
            boxes.append((low, high))
        ours.append(boxes)
        corners = (lie.top, lie.left)
        theirs.append(
            [((low - at) / lie.scale, (high - at) / lie.scale) for (low, high), at in zip(boxes, corners, strict=True)]
        )
    return _sampled(ours_THW, ours), _sampled(theirs_UHW, theirs)


def _sampled(frames_THW: Tensor, boxes_L22: list[list[tuple[float, float]]]) -> Tensor:
    """Boxes cut out of all frames, ``[L T, SIDE, SIDE]``."""
    middle = (torch.arange(SIDE) + 0.5) / SIDE
    low_L2, high_L2 = torch.tensor(boxes_L22).unbind(2)
    size_2 = torch.tensor(frames_THW.shape[1:])
    at_L2S = 2 * (low_L2[..., None] + middle * (high_L2 - low_L2)[..., None]) / size_2[:, None] - 1
    y_LS, x_LS = at_L2S.unbind(1)
    count = len(boxes_L22)
    grid_LSS2 = torch.stack([x_LS[:, None].expand(-1, SIDE, -1), y_LS[:, :, None].expand(-1, -1, SIDE)], dim=3)
    places = grid_LSS2[:, None].expand(-1, len(frames_THW), -1, -1, -1).flatten(0, 1)
    pictures = frames_THW[None].expand(count, -1, -1, -1).flatten(0, 1)
    return grid_sample(pictures[:, None], places, padding_mode="border", align_corners=False)[:, 0]


def _same_moments(mine_TSS: Tensor, other_USS: Tensor, back_TK: Tensor) -> Tensor:
    """Which of K moments shows the same, near the line in time on which what moves agrees most, ``[T]``."""
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
    return beside.gather(1, _alike(mine[:, None], near).argmax(dim=1, keepdim=True))[:, 0]


def _agreement(mine_T3SS: Tensor, other_T3SS: Tensor) -> Agreement:
    """Of what moves, in the grey of the one and the mixture of the other's colours that is most like it."""
    mine, other = (part - part.mean(dim=(2, 3), keepdim=True) for part in (mine_T3SS, other_T3SS))
    mine, other = mine - mine.mean(dim=0), other - other.mean(dim=0)
    grey_TSS = torch.einsum("tcij,c->tij", mine, torch.from_numpy(GREY))
    flat_3N = other.transpose(0, 1).flatten(1)
    square_33 = flat_3N @ flat_3N.T
    square_33 += (1e-4 * square_33.trace() + 1e-6) * torch.eye(3)  # colours may be one and the same
    mixed_TSS = torch.einsum("tcij,c->tij", other, torch.linalg.solve(square_33, flat_3N @ grey_TSS.flatten()))
    alike, weights = _alike(grey_TSS.flatten(1), mixed_TSS.flatten(1)), grey_TSS.flatten(1).square().sum(dim=1)
    return Agreement(_reached(alike, weights, 0.5), _reached(alike, weights, 0.9), _beside(grey_TSS, mixed_TSS))


def _beside(mine_TSS: Tensor, other_TSS: Tensor) -> float:
    """How much of the difference is explained where each block may be shifted a little, or be in another light."""
    scale = (mine_TSS * other_TSS).sum() / other_TSS.square().sum().clamp_min(1e-6)
    difference, both = mine_TSS - scale * other_TSS, (mine_TSS + scale * other_TSS) / 2
    across = pad((both[:, :, 2:] - both[:, :, :-2]) / 2, (1, 1))
    down = pad((both[:, 2:] - both[:, :-2]) / 2, (0, 0, 1, 1))
    ways_BDP = torch.stack([_blocks(part) for part in (across, down, torch.ones_like(both))], dim=1)
    square_BDD = ways_BDP @ ways_BDP.transpose(1, 2)
    least_B = 1e-3 * square_BDD.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-3
    shared_BD = (ways_BDP * _blocks(difference)[:, None]).sum(dim=2)
    fitted_BD = torch.linalg.solve(square_BDD + least_B[:, None, None] * torch.eye(3), shared_BD)
    return float((fitted_BD * shared_BD).sum() / difference.square().sum().clamp_min(1e-6))


def _blocks(part_TSS: Tensor) -> Tensor:
    """``[B, P]``."""
    return unfold(part_TSS[:, None], _BLOCK, stride=_BLOCK).transpose(1, 2).flatten(0, 1)


def _alike(mine: Tensor, theirs: Tensor) -> Tensor:
    alike: Tensor = (mine * theirs).sum(dim=-1) / (mine.norm(dim=-1) * theirs.norm(dim=-1)).clamp_min(1e-6)
    return alike


def _reached(values: Tensor, weights: Tensor, share: float) -> float:
    """What this share of the weight reaches or exceeds."""
    order = values.argsort()
    sums = weights[order].cumsum(dim=0)
    return float(values[order[int((sums < sums[-1] * (1 - share)).sum().clamp_max(len(values) - 1))]])
