"""How one picture lies in another: scaled, cropped, shifted, mirrored, with bars around it or in other colours.

Pictures are compared by their edges, which other colours hardly change. For each of some scales, and mirrored or not,
the normalised cross-correlation of all shifts is had at once (FFT, with masks: Padfield 2012), summed over several
pairs of frames, which all have to lie alike.

Legend: J pairs of frames, B ways to turn them, H height and W width in pixels, C = 3 colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

from cacl.data.clips.colour import GREY as LUMA

Window = tuple[tuple[float, float], tuple[float, float]]
"""Rows and columns of a picture, from and to, of its height and width as 1."""
WHOLE: Window = ((0.0, 1.0), (0.0, 1.0))

HEIGHT = 48  # pixels of a picture without its bars, as it is compared
_SCALES = 1.045 ** np.arange(-6, 7)  # .77 to 1.30: a crop to 80 % either way
_GLANCE = 24  # pixels of the height at which all is tried first
_ALIKE = 0.28  # agreement there: copies with a logo, .3 s beside each other, reach .3 (UCF101); half of all others less
_KEPT = 2  # of what is tried there
_OVERLAP = 0.75  # of the smaller picture at least
_BAR = 4.0  # standard deviation, grey levels, of a row that is a bar
GREY = np.array(LUMA, np.float32)
_LEAST = 0.5  # of a picture is not bars, whatever it looks like


@dataclass(frozen=True)
class Registration:
    """Where the second picture lies in the first, both at ``HEIGHT``.

    Attributes:
        agreement: normalised cross-correlation of edges where both overlap, -1 to 1.
        scale: by which the second is enlarged.
        mirrored: whether it is turned left to right first.
        shift: rows and columns of its corner in the first.
    """

    agreement: float
    scale: float
    mirrored: bool
    shift: tuple[int, int]


def grey(frames_THWC: NDArray[np.uint8], height: int, window: Window) -> Tensor:
    """Frames without what lies around a window of them, grey, 0 to 255, ``[T, height, W]``."""
    frames_UHWC, shown_T = _distinct(frames_THWC)
    return cut(torch.from_numpy(frames_UHWC.astype(np.float32) @ GREY), height, window)[shown_T]


def colours(frames_THWC: NDArray[np.uint8], height: int, window: Window) -> Tensor:
    """As ``grey``, but red, green and blue, ``[T, 3, height, W]``."""
    frames_UHWC, shown_T = _distinct(frames_THWC)
    planes = [torch.from_numpy(frames_UHWC[..., c].astype(np.float32)) for c in range(3)]
    return torch.stack([cut(plane, height, window) for plane in planes], dim=1)[shown_T]


def cut(grey_THW: Tensor, height: int, window: Window) -> Tensor:
    """The window of some pictures, ``[T, height, W]``."""
    (top, bottom), (left, right) = (
        (round(low * size), round(high * size)) for (low, high), size in zip(window, grey_THW.shape[1:], strict=True)
    )
    part = grey_THW[:, top:bottom, left:right]
    return resized(part, height, max(8, round(height * part.shape[2] / part.shape[1])))


def without_bars(grey_THW: Tensor) -> Window:
    """The part of pictures between the bars around them."""
    top, bottom = _without_bars(grey_THW)
    left, right = _without_bars(grey_THW[:, top:bottom].swapaxes(1, 2))
    height, width = grey_THW.shape[1:]
    return (top / height, bottom / height), (left / width, right / width)


def _distinct(frames_THWC: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Frames without those that are as the one before, and which of them each was: moments lie closer than frames."""
    new = np.array([True, *(bool((one != other).any()) for one, other in pairwise(frames_THWC))])
    return frames_THWC[new], np.cumsum(new) - 1


def _without_bars(grey_THW: Tensor) -> tuple[int, int]:
    """Rows between the bars above and below: what is one colour, and stays so. One that is half a bar is of it."""
    varied = (grey_THW - grey_THW.mean(dim=(0, 2), keepdim=True)).square().mean(dim=(0, 2)).sqrt().numpy() > _BAR
    count = len(varied)
    if not varied.any():
        return 0, count
    first, last = int(np.argmax(varied)), count - int(np.argmax(varied[::-1]))
    first, last = first + (first > 0), last - (last < count)
    return (first, last) if last - first >= _LEAST * count else (0, count)


def resized(frames_THW: Tensor, height: int, width: int) -> Tensor:
    """Frames at another size, ``[T, height, width]``."""
    if frames_THW.shape[1:] == (height, width):
        return frames_THW
    return interpolate(frames_THW[:, None], (height, width), mode="bilinear", antialias=True)[:, 0]


def register(first_JHW: Tensor, second_JHW: Tensor) -> Registration | None:
    """How the second pictures lie in the first, one way for all J pairs; both at ``HEIGHT``. None: they are not alike.

    A few scales are tried in smaller pictures, and those about the best of these in the pictures as they are.
    """
    every = range(1, len(_SCALES), 3)
    ours, theirs = (resized(part, _GLANCE, part.shape[2] * _GLANCE // HEIGHT) for part in (first_JHW, second_JHW))
    rough = _tried(ours, theirs, [(number, mirrored) for mirrored in (False, True) for number in every])
    if rough[0][0].agreement < _ALIKE:
        return None
    near = {(number + step, mirrored) for _, (number, mirrored) in rough[:_KEPT] for step in (-1, 0, 1)}
    return _tried(first_JHW, second_JHW, sorted(near))[0][0]


def _tried(
    first_JHW: Tensor, second_JHW: Tensor, ways: list[tuple[int, bool]]
) -> list[tuple[Registration, tuple[int, bool]]]:
    """The best shift for each of some ways, which are a scale and whether to mirror; best first."""
    height, width = second_JHW.shape[1:]
    largest = float(_SCALES[max(number for number, _ in ways)])
    ours = _Edges(edges(first_JHW), (round(height * largest), round(width * largest)))
    found = []
    for number in dict.fromkeys(number for number, _ in ways):
        scale = float(_SCALES[number])
        turns = [mirrored for other, mirrored in ways if other == number]
        turned = torch.cat([second_JHW.flip(2) if mirrored else second_JHW for mirrored in turns])
        other = edges(resized(turned, round(height * scale), round(width * scale)))
        shifts = ours.best_shifts(other.reshape(len(turns), -1, *other.shape[1:]))
        for mirrored, (agreement, shift) in zip(turns, shifts, strict=True):
            found.append((Registration(agreement, scale, mirrored, shift), (number, mirrored)))
    return sorted(found, key=lambda one: -one[0].agreement)


def overlap(first_THW: Tensor, second_UHW: Tensor, found: Registration, side: int) -> tuple[Tensor, Tensor]:
    """What both show, cut out of either and brought to ``[T, side, side]`` and ``[U, side, side]``."""
    turned = second_UHW.flip(2) if found.mirrored else second_UHW
    size = (round(turned.shape[1] * found.scale), round(turned.shape[2] * found.scale))
    boxes = []
    for axis in (0, 1):
        low = max(0, found.shift[axis])
        high = min(first_THW.shape[1 + axis], found.shift[axis] + size[axis])
        boxes.append((low, high))
    (top, bottom), (left, right) = boxes
    ours = first_THW[:, top:bottom, left:right]
    top, bottom, left, right = (
        round((edge - found.shift[axis]) / found.scale) for edge, axis in ((top, 0), (bottom, 0), (left, 1), (right, 1))
    )
    return resized(ours, side, side), resized(turned[:, top:bottom, left:right], side, side)


def edges(frames_JHW: Tensor) -> Tensor:
    """How strong they are, ``[J, H - 1, W - 1]``, without the mean of each picture."""
    down = frames_JHW[:, 1:, :-1] - frames_JHW[:, :-1, :-1]
    across = frames_JHW[:, :-1, 1:] - frames_JHW[:, :-1, :-1]
    strength = torch.sqrt((down**2 + across**2).sqrt() + 1e-6)  # the root, so that a few strong edges are not all
    return strength - strength.mean(dim=(1, 2), keepdim=True)


class _Edges:
    """Edges of pictures that others are shifted over, ``[J, H, W]``; what they need for each of them is kept."""

    def __init__(self, edges_JHW: Tensor, largest: tuple[int, int]) -> None:
        """``largest``: rows and columns of what will be shifted over them."""
        self._size = (edges_JHW.shape[1], edges_JHW.shape[2])
        sides = zip(self._size, largest, strict=True)
        self._padded = [-(-(own + other - int(_OVERLAP * min(own, other)) + 1) // 8) * 8 for own, other in sides]
        self._spectrum = torch.fft.rfft2(edges_JHW, s=self._padded)
        self._energy = _sums(edges_JHW)

    def best_shifts(self, edges_BJHW: Tensor) -> list[tuple[float, tuple[int, int]]]:
        """Where each of B others agrees most, and how much: rows and columns of its corner."""
        rows, columns = (
            _shifts(own, other)
            for own, other in zip(self._size, (edges_BJHW.shape[2], edges_BJHW.shape[3]), strict=True)
        )
        product = self._spectrum * torch.fft.rfft2(edges_BJHW, s=self._padded).conj()
        # Shifts of which little overlaps come out wrong, as they wrap around, and are not asked for.
        sums = torch.fft.irfft2(product.sum(dim=1), s=self._padded)
        sums = sums[:, rows.shift % self._padded[0]][:, :, columns.shift % self._padded[1]]
        theirs = _inside(_sums(edges_BJHW), rows.theirs, columns.theirs)
        energy = _inside(self._energy, rows.ours, columns.ours) * theirs
        area = (rows.ours[1] - rows.ours[0])[:, None] * (columns.ours[1] - columns.ours[0])
        least = _OVERLAP * min(self._size[0] * self._size[1], edges_BJHW[0, 0].numel())
        agreement = (sums / energy.sqrt()).masked_fill(area < least, -1.0)
        best, places = agreement.flatten(1).max(dim=1)
        found = []
        for value, place in zip(best.tolist(), places.tolist(), strict=True):
            row, column = divmod(place, agreement.shape[2])
            found.append((value, (int(rows.shift[row]), int(columns.shift[column]))))
        return found


class _Shifts(NamedTuple):
    """Shifts of one side over another of which enough overlaps, and from where to where that is, in either."""

    shift: Tensor
    ours: tuple[Tensor, Tensor]
    theirs: tuple[Tensor, Tensor]


@lru_cache(1024)
def _shifts(own: int, other: int) -> _Shifts:
    shift = torch.arange(-other + 1, own)
    low, high = shift.clamp_min(0), (shift + other).clamp_max(own)
    enough = high - low >= _OVERLAP * min(own, other)
    shift, low, high = shift[enough], low[enough], high[enough]
    return _Shifts(shift, (low, high), (low - shift, high - shift))


def _sums(edges_BJHW: Tensor) -> Tensor:
    """Squares, summed over all pictures and over what is above and left of each corner, ``[…, H + 1, W + 1]``."""
    return pad((edges_BJHW**2).sum(dim=-3).double().cumsum(dim=-2).cumsum(dim=-1), (1, 0, 1, 0))


def _inside(sums: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """Sums inside of boxes, for each pair of rows and each pair of columns; never 0."""
    between = sums[..., rows[1], :] - sums[..., rows[0], :]
    return (between[..., columns[1]] - between[..., columns[0]]).clamp_min(1e-6)
