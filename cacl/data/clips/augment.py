"""Clip-consistent augmentation, batched, on the device of the frames: crop, flip, colour jitter, grey, blur.

``draw_augmentation`` turns uniform numbers into what will be done (one draw a clip, the same for all of its frames);
``augment`` does it. The crop is taken from the uint8 frames first, so that everything after it touches fewer pixels.
The result of a clip depends on its own frames and its own row of numbers alone, whatever else is in the batch.

Shapes: B clips, U uniform numbers a clip, T frames, H, W height and width of the frames, S size of the crop, C = 3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from cacl.data.clips import colour
from cacl.data.clips.normalise import Standardise, normalise_
from cacl.data.clips.upload import sent
from cacl.errors import UserError

_TRIES = 10  # area crops are drawn until one fits, at most so often (as random resized crops usually are)
AUGMENT_DRAWS = 2 * _TRIES + 12
"""Uniform numbers a clip and view that ``draw_augmentation`` wants, whatever is switched on."""

_ORDERS = np.array(list(itertools.permutations(range(4))), dtype=np.int64)
_BLOCK_PIXELS = 1 << 16  # on the CPU, clips are coloured in blocks of about so many pixels, to stay in the cache


@dataclass(frozen=True, slots=True, eq=False)
class AugmentDraw:
    """What will be done to each clip of a batch. It steers which operators run at all, so it stays on the CPU.

    Attributes:
        size: S, height and width of the result.
        box: int64 ``[B, 4]``, top, left, height, width of the crop in pixels of the frame.
        flip: bool ``[B]``, mirror left and right.
        jitter: bool ``[B]``, apply the four colour operators.
        order: int64 ``[B, 4]``, the order of the operators: 0 brightness, 1 contrast, 2 saturation, 3 hue.
        factor: float32 ``[B, 4]``, factors of brightness, contrast, saturation (1 changes nothing), hue shift in turns.
        grey: bool ``[B]``, take away the colour.
        sigma: float32 ``[B]``, standard deviation of the blur in pixels of the crop, 0 for none.
    """

    size: int
    box: Tensor
    flip: Tensor
    jitter: Tensor
    order: Tensor
    factor: Tensor
    grey: Tensor
    sigma: Tensor

    def __post_init__(self) -> None:
        for name, value in self.tensors().items():
            wanted = (len(self), 4) if name in ("box", "order", "factor") else (len(self),)
            if tuple(value.shape) != wanted or value.device.type != "cpu":
                raise ValueError(f"{name} must be {list(wanted)} on the CPU, found {list(value.shape)} {value.device}")

    def __len__(self) -> int:
        return len(self.box)

    def __repr__(self) -> str:
        counts = {"flipped": self.flip, "jittered": self.jitter, "grey": self.grey, "blurred": self.sigma > 0}
        return f"AugmentDraw({len(self)} clips to {self.size} x {self.size}: " + (
            ", ".join(f"{int(value.sum())} {name}" for name, value in counts.items()) + ")"
        )

    def tensors(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "size"}

    def rows(self, rows: slice) -> AugmentDraw:
        """The draw of some of the clips."""
        return AugmentDraw(size=self.size, **{name: value[rows] for name, value in self.tensors().items()})


def draw_augmentation(
    uniforms_BU: NDArray[np.float64],
    *,
    height: int,
    width: int,
    size: int,
    crop: Literal["fixed", "area"] = "fixed",
    area: tuple[float, float] = (0.2, 1.0),
    flip: float = 0.5,
    jitter: tuple[float, float, float, float] = (0.4, 0.4, 0.4, 0.1),
    jitter_p: float = 0.8,
    gray_p: float = 0.0,
    blur_sigma: tuple[float, float] = (0.1, 2.0),
    blur_p: float = 0.5,
) -> AugmentDraw:
    """Turn uniform numbers into augmentations, row by row.

    Args:
        uniforms_BU: float64 in [0, 1), ``[B, AUGMENT_DRAWS]``, e.g. from ``randomness.uniform``.
        height: of the frames, in pixels.
        width: of the frames, in pixels.
        size: S, height and width of the result in pixels.
        crop: "fixed" takes S x S pixels anywhere in the frame; "area" takes a rectangle of a random share of the
            frame's area and of aspect 3/4 … 4/3 (its logarithm uniform) and resizes it.
        area: smallest and largest share of the frame's area, in (0, 1], for "area".
        flip: probability of mirroring.
        jitter: strengths of brightness, contrast, saturation (factor within 1 ± strength, not below 0) and hue (shift
            within ± strength of a full circle, at most 0.5).
        jitter_p: probability of the four colour operators, in random order.
        gray_p: probability of taking away the colour.
        blur_sigma: smallest and largest standard deviation of the blur, in pixels of the crop; scale it with S.
        blur_p: probability of the blur.

    Raises:
        UserError: a fixed crop is larger than the frames.
        ValueError: ``uniforms_BU`` has another number of columns.
    """
    if uniforms_BU.ndim != 2 or uniforms_BU.shape[1] != AUGMENT_DRAWS:
        raise ValueError(f"uniforms must be [B, {AUGMENT_DRAWS}], found {list(uniforms_BU.shape)}")
    columns = iter(uniforms_BU[:, 2 * _TRIES :].T)
    if crop == "area":
        shape_B2 = _area_shapes(uniforms_BU[:, : 2 * _TRIES], height, width, area)
    elif size > min(height, width):
        raise UserError(
            f"a fixed crop of {size} x {size} pixels does not fit frames of {height} x {width}: "
            "take a smaller size, larger frames, or the area crop"
        )
    else:
        shape_B2 = np.full((len(uniforms_BU), 2), size, dtype=np.int64)
    corner_B2 = np.stack(
        [np.floor(next(columns) * (side - shape_B2[:, i] + 1)) for i, side in enumerate((height, width))], axis=1
    ).astype(np.int64)
    flip_B, jitter_B = next(columns) < flip, next(columns) < jitter_p
    order_B4 = _ORDERS[(next(columns) * len(_ORDERS)).astype(np.int64)]
    factors = [max(0.0, 1 - s) + next(columns) * (1 + s - max(0.0, 1 - s)) for s in jitter[:3]]
    hue_B = (2 * next(columns) - 1) * jitter[3]
    grey_B, blur_B = next(columns) < gray_p, next(columns) < blur_p
    sigma_B = blur_B * (blur_sigma[0] + next(columns) * (blur_sigma[1] - blur_sigma[0]))
    return AugmentDraw(
        size=size,
        box=torch.from_numpy(np.concatenate([corner_B2, shape_B2], axis=1)),
        flip=torch.from_numpy(flip_B),
        jitter=torch.from_numpy(jitter_B),
        order=torch.from_numpy(order_B4),
        factor=torch.from_numpy(np.stack([*factors, hue_B], axis=1).astype(np.float32)),
        grey=torch.from_numpy(grey_B),
        sigma=torch.from_numpy(sigma_B.astype(np.float32)),
    )


@torch.no_grad()
def augment(
    frames_BTHWC: Tensor,
    draw: AugmentDraw,
    *,
    hue: Literal["hsv", "yiq"] = "hsv",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    frame_draw: AugmentDraw | None = None,
) -> Tensor:
    """Do what was drawn: crop, flip, colour jitter, grey, blur, and, where given, ``(x - mean) / std``.

    Args:
        frames_BTHWC: uint8, on any device; left as it is, so that several views can be drawn from it.
        draw: one row a clip.
        hue: "hsv" is the usual, exact colour jitter in the order drawn; "yiq" does all four in one 3x3 matrix, which is
            somewhat faster and a different operator (on average some 3 of 255 levels away).
        mean: of each channel, in [0, 1]; 0 where None.
        std: of each channel; 1 where None.
        frame_draw: ``[B * T]`` draws, a clip's frames one after the other, whose jitter and grey each frame has
            instead of its clip's.

    Returns:
        float32 ``[B, 3, T, S, S]`` in [0, 1] before mean and std, on the device of the frames.

    Raises:
        ValueError: the frames are not uint8 ``[B, T, H, W, 3]`` with one row of the draw each.
    """
    _check_frames(frames_BTHWC)
    if len(frames_BTHWC) != len(draw):
        raise ValueError(f"{len(frames_BTHWC)} clips but {len(draw)} draws")
    if frame_draw is not None and len(frame_draw) != frames_BTHWC.shape[0] * frames_BTHWC.shape[1]:
        raise ValueError(f"{frames_BTHWC.shape[0] * frames_BTHWC.shape[1]} frames but {len(frame_draw)} draws")
    frames, size, device = frames_BTHWC.shape[1], draw.size, frames_BTHWC.device
    x_B3TSS = torch.empty((len(draw), 3, frames, size, size), device=device)
    block = max(1, _BLOCK_PIXELS // (frames * size * size)) if device.type == "cpu" else max(1, len(draw))
    for start in range(0, len(draw), block):
        rows = slice(start, start + block)
        part_draw, part_x = draw.rows(rows), x_B3TSS[rows]
        _crop_and_flip(frames_BTHWC[rows], part_draw, part_x)
        if frame_draw is None:
            _colour_(part_x, part_draw, hue)
        else:
            own = frame_draw.rows(slice(start * frames, (start + len(part_x)) * frames))
            part_x.copy_(_frames_coloured(part_x, own, hue))
        blurred = [b for b, sigma in enumerate(part_draw.sigma.tolist()) if sigma > 0]
        _on_rows(part_x, blurred, _blur_, part_draw.sigma)
    return normalise_(x_B3TSS, mean=mean, std=std)


@torch.no_grad()
def centre_crop(
    frames_BTHWC: Tensor,
    size: int,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    standardise: Standardise = "none",
) -> Tensor:
    """The central ``size`` x ``size`` pixels; corner at half the margin, rounded half to even (128x171 to 112: 8, 30).

    Returns:
        float32 ``[B, 3, T, S, S]`` in [0, 1] before mean and std, on the device of the frames.

    Raises:
        UserError: the frames are smaller than the crop.
        ValueError: the frames are not uint8 ``[B, T, H, W, 3]``.
    """
    _check_frames(frames_BTHWC)
    height, width = frames_BTHWC.shape[2:4]
    if size > min(height, width):
        raise UserError(
            f"a crop of {size} x {size} pixels does not fit frames of {height} x {width}: take a smaller size"
        )
    top, left = round((height - size) / 2), round((width - size) / 2)
    window_BTSSC = frames_BTHWC[:, :, top : top + size, left : left + size]
    x_B3TSS = window_BTSSC.permute(0, 4, 1, 2, 3).contiguous().float().div_(255)
    return normalise_(x_B3TSS, mean=mean, std=std, standardise=standardise)


def _area_shapes(
    uniforms_BU: NDArray[np.float64], height: int, width: int, area: tuple[float, float]
) -> NDArray[np.int64]:
    """Height and width of area crops: the first of ten draws that fits, else the largest shape of legal aspect."""
    area_BK = (area[0] + uniforms_BU[:, :_TRIES] * (area[1] - area[0])) * height * width
    aspect_BK = np.exp((2 * uniforms_BU[:, _TRIES:] - 1) * math.log(4 / 3))  # width over height
    shape_BK2 = np.round(np.sqrt(np.stack([area_BK / aspect_BK, area_BK * aspect_BK], axis=2))).astype(np.int64)
    shape_BK2 = np.maximum(shape_BK2, 1)
    fits_BK = (shape_BK2[..., 0] <= height) & (shape_BK2[..., 1] <= width)
    chosen_B2 = np.take_along_axis(shape_BK2, fits_BK.argmax(1)[:, None, None], axis=1)[:, 0]
    largest = (min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3)))
    return np.where(fits_BK.any(axis=1, keepdims=True), chosen_B2, np.array(largest, dtype=np.int64)[None])


def _crop_and_flip(frames_BTHWC: Tensor, draw: AugmentDraw, out_B3TSS: Tensor) -> None:
    """Write the boxes, resized where they are not S x S and mirrored where drawn, into ``out`` as numbers in [0, 1]."""
    size = draw.size
    for b, (box, flip) in enumerate(zip(draw.box.tolist(), draw.flip.tolist(), strict=True)):
        top, left, height, width = box
        box_TCHW = frames_BTHWC[b, :, top : top + height, left : left + width].permute(0, 3, 1, 2)
        if (height, width) != (size, size):
            box_TCHW = _resize(box_TCHW, size)
        box_CTSS = box_TCHW.transpose(0, 1)
        out_B3TSS[b].copy_((box_CTSS.flip(-1) if flip else box_CTSS).contiguous())
    out_B3TSS.div_(255)


def _resize(box_TCHW: Tensor, size: int) -> Tensor:
    """Bilinear with antialiasing, rounded to whole levels as image libraries do; uint8 is 5x faster where it exists."""
    if box_TCHW.device.type == "cpu":
        return functional.interpolate(box_TCHW, size=(size, size), mode="bilinear", antialias=True)
    exact_TCSS = functional.interpolate(box_TCHW.float(), size=(size, size), mode="bilinear", antialias=True)
    return exact_TCSS.round_().clamp_(0, 255)


def _colour_(x_B3TSS: Tensor, draw: AugmentDraw, hue: Literal["hsv", "yiq"]) -> None:
    """Jitter, then grey, each on the clips that drew it."""
    jittered = [b for b, on in enumerate(draw.jitter.tolist()) if on]
    if hue == "yiq":
        _on_rows(x_B3TSS, jittered, colour.yiq_jitter_, draw.factor)
    else:
        orders = draw.order.tolist()
        operators = (colour.brightness_, colour.contrast_, colour.saturation_, colour.hue_)
        for stage, (kind, operator) in itertools.product(range(4), enumerate(operators)):
            here = [b for b in jittered if orders[b][stage] == kind]
            _on_rows(x_B3TSS, here, operator, draw.factor[:, kind])
    grey = [b for b, on in enumerate(draw.grey.tolist()) if on]
    _on_rows(x_B3TSS, grey, lambda x, _: colour.greyscale_(x), draw.factor)


def _frames_coloured(x_B3TSS: Tensor, draw: AugmentDraw, hue: Literal["hsv", "yiq"]) -> Tensor:
    """Jitter and grey of every frame by itself: each is a clip of one frame."""
    B, _, T = x_B3TSS.shape[:3]
    x_N31SS = x_B3TSS.transpose(1, 2).flatten(0, 1)[:, :, None].contiguous()
    _colour_(x_N31SS, draw, hue)
    return x_N31SS.view(B, T, 3, *x_B3TSS.shape[3:]).transpose(1, 2)


def _on_rows(x_B3TSS: Tensor, rows: list[int], operator: Callable[[Tensor, Tensor], None], factor: Tensor) -> None:
    """Apply an in-place operator, with each clip's own factor, to some of the clips."""
    if len(rows) == len(x_B3TSS):
        operator(x_B3TSS, factor)
    elif rows:
        index = sent(torch.tensor(rows), x_B3TSS.device)
        part = x_B3TSS[index]
        operator(part, factor[rows])
        x_B3TSS[index] = part


def _blur_(x_B3TSS: Tensor, sigma_B: Tensor) -> None:
    """Gaussian blur along width, then height; a kernel ends at its own 3 sigma; edges mirrored, not repeated."""
    size = x_B3TSS.shape[-1]
    radius = min(math.ceil(3 * max(sigma_B.tolist())), size - 1)
    distance_R = torch.arange(radius + 1)
    weight_BR = torch.exp(-(distance_R**2) / (2 * sigma_B[:, None].double() ** 2))
    weight_BR = weight_BR * (distance_R <= torch.ceil(3 * sigma_B)[:, None])
    weight_BR = weight_BR / (2 * weight_BR.sum(1, keepdim=True) - weight_BR[:, :1])
    weight_RB1111 = sent(weight_BR.T.to(x_B3TSS.dtype), x_B3TSS.device)[:, :, None, None, None, None]
    for dim, pad in ((-1, (radius, radius, 0, 0)), (-2, (0, 0, radius, radius))):
        # Reflection padding takes 4-d tensors: channels and frames alike are images here.
        padded = functional.pad(x_B3TSS.flatten(1, 2), pad, mode="reflect")
        padded = padded.view(*x_B3TSS.shape[:3], *padded.shape[-2:])
        torch.mul(padded.narrow(dim, radius, size), weight_RB1111[0], out=x_B3TSS)
        for d in range(1, radius + 1):
            pair = padded.narrow(dim, radius - d, size) + padded.narrow(dim, radius + d, size)
            x_B3TSS.addcmul_(pair, weight_RB1111[d])


def _check_frames(frames_BTHWC: Tensor) -> None:
    if frames_BTHWC.ndim != 5 or frames_BTHWC.shape[-1] != 3 or frames_BTHWC.dtype != torch.uint8:
        raise ValueError(f"frames must be uint8 [B, T, H, W, 3], found {frames_BTHWC.dtype} {list(frames_BTHWC.shape)}")
