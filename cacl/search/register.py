"""How one picture lies in another: scaled, cropped, shifted, mirrored, with bars around it or in other colours.

Pictures are compared by their edges, which other colours hardly change. For each of some scales, and mirrored or not,
the normalised cross-correlation of all shifts is had at once (FFT, with masks: Padfield 2012), summed over several
pairs of frames, which all have to lie alike.

Legend: J pairs of frames, H height and W width in pixels, C = 3 colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate, pad

Window = tuple[slice, slice]
"""Rows and columns of a picture."""

HEIGHT = 48  # pixels of a picture without its bars, as it is compared
_SCALES = 1.045 ** np.arange(-6, 7)  # .77 to 1.30: a crop to 80 % either way
_OVERLAP = 0.75  # of the smaller picture at least
_BAR = 4.0  # standard deviation, grey levels, of a row that is a bar
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
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
    cut = torch.from_numpy(np.ascontiguousarray((frames_UHWC.astype(np.float32) @ _GREY)[:, window[0], window[1]]))
    return resized(cut, height, max(8, round(height * cut.shape[2] / cut.shape[1])))[shown_T]


def without_bars(frames_THWC: NDArray[np.uint8]) -> Window:
    """Rows and columns between the bars around frames."""
    frames_UHWC, shown_T = _distinct(frames_THWC)
    pixels = (frames_UHWC.astype(np.float32) @ _GREY)[shown_T]
    rows = _without_bars(pixels)
    return rows, _without_bars(pixels[:, rows].swapaxes(1, 2))


def _distinct(frames_THWC: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Frames without those that are as the one before, and which of them each was: moments lie closer than frames."""
    new = np.array([True, *(bool((one != other).any()) for one, other in pairwise(frames_THWC))])
    return frames_THWC[new], np.cumsum(new) - 1


def _without_bars(pixels_THW: NDArray[np.float32]) -> slice:
    """Rows between the bars above and below: what is one colour, and stays so."""
    varied = np.sqrt(pixels_THW.var(axis=(0, 2))) > _BAR
    count = len(varied)
    if not varied.any():
        return slice(0, count)
    first, last = int(np.argmax(varied)), count - int(np.argmax(varied[::-1]))
    return slice(first, last) if last - first >= _LEAST * count else slice(0, count)


def resized(frames_THW: Tensor, height: int, width: int) -> Tensor:
    """Frames at another size, ``[T, height, width]``."""
    return interpolate(frames_THW[:, None], (height, width), mode="bilinear", antialias=True)[:, 0]


def register(first_JHW: Tensor, second_JHW: Tensor, *, every: int = 1) -> Registration:
    """How the second pictures lie in the first, one way for all J pairs; both of one height.

    Args:
        first_JHW: grey levels.
        second_JHW: grey levels.
        every: so many of the scales are left out for each that is tried.
    """
    scales = _SCALES[(len(_SCALES) // 2) % every :: every].tolist()
    sizes = [(round(second_JHW.shape[1] * scale), round(second_JHW.shape[2] * scale)) for scale in scales]
    ours = _Edges(edges(first_JHW), (max(height for height, _ in sizes), max(width for _, width in sizes)))
    best = Registration(-1.0, 1.0, False, (0, 0))
    for mirrored in (False, True):
        turned = second_JHW.flip(2) if mirrored else second_JHW
        for scale, size in zip(scales, sizes, strict=True):
            agreement, shift = ours.best_shift(edges(resized(turned, *size)))
            if agreement > best.agreement:
                best = Registration(agreement, scale, mirrored, shift)
    return best


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
        # Shifts of which little overlaps come out wrong, as they wrap around, and are not asked for.
        sides = zip(self._size, largest, strict=True)
        self._padded = tuple(-(-(own + other - int(_OVERLAP * min(own, other)) + 1) // 8) * 8 for own, other in sides)
        self._spectrum = torch.fft.rfft2(edges_JHW, s=self._padded)
        self._energy = _sums(edges_JHW)

    def best_shift(self, edges_JHW: Tensor) -> tuple[float, tuple[int, int]]:
        """Where the others agree most, and how much: rows and columns of their corner."""
        size = (edges_JHW.shape[1], edges_JHW.shape[2])
        least = _OVERLAP * min(self._size[0] * self._size[1], size[0] * size[1])
        product = self._spectrum * torch.fft.rfft2(edges_JHW, s=self._padded).conj()
        sums = torch.fft.irfft2(product.sum(dim=0), s=self._padded)
        shifts, ours, theirs = [], [], []
        for own, other in zip(self._size, size, strict=True):
            shift = torch.arange(-other + 1, own)
            low, high = shift.clamp_min(0), (shift + other).clamp_max(own)
            enough = high - low >= _OVERLAP * min(own, other)
            shift, low, high = shift[enough], low[enough], high[enough]
            shifts.append(shift)
            ours.append((low, high))
            theirs.append((low - shift, high - shift))
        area = (ours[0][1] - ours[0][0])[:, None] * (ours[1][1] - ours[1][0])
        energy = _inside(self._energy, ours).clamp_min(1e-6) * _inside(_sums(edges_JHW), theirs).clamp_min(1e-6)
        alike = sums[shifts[0] % self._padded[0]][:, shifts[1] % self._padded[1]] / energy.sqrt()
        agreement = torch.where(area >= least, alike, -torch.ones(()))
        place = int(agreement.argmax())
        row, column = divmod(place, agreement.shape[1])
        return float(agreement.flatten()[place]), (int(shifts[0][row]), int(shifts[1][column]))


def _sums(edges_JHW: Tensor) -> Tensor:
    """Squares, summed over all pictures and over what is above and left of each corner, ``[H + 1, W + 1]``."""
    return pad((edges_JHW**2).sum(dim=0).double().cumsum(dim=0).cumsum(dim=1), (1, 0, 1, 0))


def _inside(sums: Tensor, box: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Sums inside of boxes: for each pair of rows and each pair of columns."""
    (top, bottom), (left, right) = box
    between = sums[bottom] - sums[top]
    return (between[:, right] - between[:, left]).float()
