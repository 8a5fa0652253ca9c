"""Small pictures with their captions: what the pictures of neighbours and of samples, and the report, are made of."""

from __future__ import annotations

import base64
import io
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
        frames: the same in motion, uint8 RGB ``[T, H, W, 3]``, where it is a video.
        milliseconds: that each of the frames is to be seen.
    """

    image: NDArray[np.uint8]
    caption: str = ""
    note: str = ""
    right: bool | None = None
    title: str = ""
    frames: NDArray[np.uint8] | None = None
    milliseconds: int = 100


@dataclass(frozen=True)
class TileRow:
    """A row of the picture: a first tile set apart (a query), then the others.

    Attributes:
        tiles: what the row shows.
        lead: the tile set apart, if any.
    """

    tiles: tuple[Tile, ...]
    lead: Tile | None = None


def jpeg_uri(image_HWC: NDArray[np.uint8], *, quality: int = 85) -> str:
    """An image as ``data:image/jpeg;base64,…``, for a page that needs no other file."""
    import simplejpeg

    data = simplejpeg.encode_jpeg(np.ascontiguousarray(image_HWC), quality=quality, colorsubsampling="444")
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def webp_uri(frames_THWC: NDArray[np.uint8], *, milliseconds: int, quality: int = 55) -> str:
    """Frames as an animation without end, ``data:image/webp;base64,…``; every browser plays it, and no codec is needed.

    Args:
        frames_THWC: uint8 RGB.
        milliseconds: that each of the frames is to be seen.
        quality: of WebP, 0 … 100.
    """
    from PIL import Image

    first, *others = [Image.fromarray(np.ascontiguousarray(frame_HWC)) for frame_HWC in frames_THWC]
    out = io.BytesIO()
    first.save(
        out, "WEBP", save_all=True, append_images=others, duration=milliseconds, loop=0, quality=quality, method=4
    )
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


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
