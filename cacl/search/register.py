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
from torch.nn.functional import interpolate

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


def register(first_JHW: Tensor, second_JHW: Tensor) -> Registration:
    """How the second pictures lie in the first, one way for all J pairs; both at ``HEIGHT``."""
    ours = edges(first_JHW)
    best = Registration(-1.0, 1.0, False, (0, 0))
    for mirrored in (False, True):
        turned = second_JHW.flip(2) if mirrored else second_JHW
        for scale in _SCALES.tolist():
            height, width = round(turned.shape[1] * scale), round(turned.shape[2] * scale)
            agreement, shift = _best_shift(ours, edges(resized(turned, height, width)))
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


def _best_shift(first: Tensor, second: Tensor) -> tuple[float, tuple[int, int]]:
    shape = tuple(a + b for a, b in zip(first.shape[1:], second.shape[1:], strict=True))

    def correlated(a: Tensor, b: Tensor) -> Tensor:
        product = torch.fft.rfft2(a, s=shape) * torch.fft.rfft2(b, s=shape).conj()
        sums: Tensor = torch.fft.irfft2(product.sum(dim=0), s=shape)
        return sums

    here, there = torch.ones_like(first[:1]), torch.ones_like(second[:1])
    area = correlated(here, there)
    energy = correlated((first**2).sum(dim=0, keepdim=True), there).clamp_min(1e-6)
    energy = energy * correlated(here, (second**2).sum(dim=0, keepdim=True)).clamp_min(1e-6)
    least = _OVERLAP * min(first[0].numel(), second[0].numel())
    agreement = torch.where(area >= least, correlated(first, second) / energy.sqrt(), -torch.ones(()))
    place = int(agreement.argmax())
    row, column = divmod(place, shape[1])
    height, width = first.shape[1:]
    shift = (row if row < height else row - shape[0], column if column < width else column - shape[1])
    return float(agreement.flatten()[place]), shift
