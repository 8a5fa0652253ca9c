"""Small pictures with their captions: what the pictures of neighbours and of samples, and the report, are made of."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Tile:
    """One picture with its caption.

    Attributes:
        image: uint8 RGB, ``[H, W, 3]``.
        caption: the line below, e.g. the class.
        note: a smaller second line, e.g. the similarity.
        right: True or False where it can be right or wrong, else None.
        title: shown on hovering, e.g. the file.
    """

    image: NDArray[np.uint8]
    caption: str = ""
    note: str = ""
    right: bool | None = None
    title: str = ""


@dataclass(frozen=True)
class TileRow:
    """A row of the picture: a first tile set apart (a query) or a name, then the others.

    Attributes:
        tiles: what the row shows.
        lead: the tile set apart, if any.
        name: the row's name, if any.
    """

    tiles: tuple[Tile, ...]
    lead: Tile | None = None
    name: str = ""


def jpeg_uri(image_HWC: NDArray[np.uint8], *, quality: int = 85) -> str:
    """An image as ``data:image/jpeg;base64,…``, for a page that needs no other file."""
    import simplejpeg

    data = simplejpeg.encode_jpeg(np.ascontiguousarray(image_HWC), quality=quality, colorsubsampling="444")
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def shrink(frames_NHWC: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Frames made ``height`` pixels high by area averaging, sides kept in proportion; smaller ones are left alone."""
    import torch
    import torch.nn.functional as F

    rows, columns = frames_NHWC.shape[1:3]
    if rows <= height:
        return frames_NHWC
    x_NCHW = torch.from_numpy(np.ascontiguousarray(frames_NHWC)).permute(0, 3, 1, 2).float()
    small_NCHW = F.interpolate(x_NCHW, size=(height, max(1, round(columns * height / rows))), mode="area")
    small: NDArray[np.uint8] = small_NCHW.round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return small


def film_strip(frames_THWC: NDArray[np.uint8], *, gap: int = 2) -> NDArray[np.uint8]:
    """Frames side by side from left to right, white between them: ``[H, T * (W + gap) - gap, 3]``."""
    frames, rows, columns, _ = frames_THWC.shape
    strip = np.full((rows, frames * (columns + gap) - gap, 3), 255, np.uint8)
    for t in range(frames):
        left = t * (columns + gap)
        strip[:, left : left + columns] = frames_THWC[t]
    return strip
