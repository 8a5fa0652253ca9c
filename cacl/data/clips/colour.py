"""Colour operators on batches of clips, in place: one factor a clip, the same for all of its frames.

Brightness, contrast, saturation and hue are the operators of the usual colour jitter (as in MoCo's augmentations):
scale; blend with the mean of the grey frame; blend with the grey frame; shift of the HSV hue. Contrast takes the mean
of each frame, with one factor for the clip, as clip-consistent implementations that go frame by frame do.

Shapes: x_B3THW float32 in [0, 1], on any device; factor_B float32, best on the CPU. B clips, T frames, H, W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cacl.data.clips.upload import sent

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma of R, G, B


def grey(x_B3THW: Tensor) -> Tensor:
    """BT.601 luma, float32 ``[B, T, H, W]`` in [0, 1]."""
    return (x_B3THW[:, 0] * GREY[0]).add_(x_B3THW[:, 1], alpha=GREY[1]).add_(x_B3THW[:, 2], alpha=GREY[2])


def greyscale_(x_B3THW: Tensor) -> None:
    """Replace all three channels by the luma."""
    x_B3THW.copy_(grey(x_B3THW).unsqueeze(1).expand_as(x_B3THW))


def brightness_(x_B3THW: Tensor, factor_B: Tensor) -> None:
    """``clamp(f · x)``; f = 1 leaves x as it is, 0 gives black."""
    x_B3THW.mul_(_wide(factor_B, x_B3THW)).clamp_(0, 1)


def contrast_(x_B3THW: Tensor, factor_B: Tensor) -> None:
    """``clamp(f · x + (1 - f) · mean of the grey frame)``; f = 1 leaves x as it is."""
    mean_B1T11 = grey(x_B3THW).mean((-2, -1), keepdim=True).unsqueeze(1)
    f = _wide(factor_B, x_B3THW)
    x_B3THW.mul_(f).add_(mean_B1T11 * (1 - f)).clamp_(0, 1)


def saturation_(x_B3THW: Tensor, factor_B: Tensor) -> None:
    """``clamp(f · x + (1 - f) · grey frame)``; f = 1 leaves x as it is, 0 gives grey."""
    f = _wide(factor_B, x_B3THW)
    base_B1THW = grey(x_B3THW).unsqueeze(1).mul_(1 - f)
    x_B3THW.mul_(f).add_(base_B1THW).clamp_(0, 1)


def hue_(x_B3THW: Tensor, shift_B: Tensor) -> None:
    """Turn the HSV hue by ``shift`` of a full circle (-0.5 … 0.5), value and saturation kept: exact, without branches.

    Measure hue h in sixths of the circle from red, in [-3, 3], and write r, g, b for the channels less their minimum,
    over their range. On the side of green (G >= B) the hexagon gives h = 1 - r + g + b: between red and yellow
    r = 1, b = 0, g = h; to green g = 1, r = 2 - h; to cyan g = 1, b = h - 2. On the side of blue it is the mirror
    image, -(1 - r + g + b). Back: a channel stands at ``clamp(2 - d, 0, 1)`` of the range, d its distance around the
    circle from h to the channel's own hue (red 0, green 2, blue -2).
    """
    red, green, blue = x_B3THW.unbind(1)
    low = torch.minimum(red, green)
    low = torch.minimum(low, blue, out=low)
    span = torch.maximum(red, green)
    span = torch.maximum(span, blue, out=span).sub_(low)
    h = (green + blue).sub_(red).sub_(low)
    h.div_(span.clamp_min(1e-12)).add_(1)  # grey pixels: any hue does, their range is 0
    h = torch.copysign(h, green - blue, out=h)
    h.add_(6 * _wide(shift_B, x_B3THW)[:, 0])
    turns = (h * (1 / 6)).round_()
    h.sub_(turns, alpha=6)
    torch.addcmul(low, span, h.abs().neg_().add_(2).clamp_(0, 1), out=red)
    # The distance from h in [-3, 3] to ±2 around the circle is 3 - ||h ∓ 2| - 3|.
    torch.addcmul(low, span, (h - 2).abs_().sub_(3).abs_().sub_(1).clamp_(0, 1), out=green)
    torch.addcmul(low, span, h.add_(2).abs_().sub_(3).abs_().sub_(1).clamp_(0, 1), out=blue)


def yiq_jitter_(x_B3THW: Tensor, factor_B4: Tensor) -> None:
    """All four jitters as one 3x3 matrix and one offset a frame: faster, and another operator than the exact one.

    Hue turns the chroma plane of YIQ, which keeps luma instead of value, and clipping happens once, at the end. Without
    clipping between them brightness, contrast, saturation and this hue commute, so there is no order to draw.

    Args:
        x_B3THW: changed in place.
        factor_B4: brightness, contrast, saturation factors (1 changes nothing) and hue shift in turns.
    """
    b_B, c_B, s_B, hue_B = factor_B4.double().cpu().unbind(1)  # in double on the CPU: not every device has it
    cos_B, sin_B = torch.cos(2 * torch.pi * hue_B), torch.sin(2 * torch.pi * hue_B)
    to_yiq = torch.tensor(
        [GREY, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)], dtype=torch.float64
    )
    zero_B, one_B = torch.zeros_like(b_B), torch.ones_like(b_B)
    # From red over green to blue is a clockwise turn of the IQ plane.
    turn_B33 = torch.stack(
        [one_B, zero_B, zero_B, zero_B, s_B * cos_B, s_B * sin_B, zero_B, s_B * -sin_B, s_B * cos_B], dim=1
    ).view(-1, 3, 3)
    matrix_B33 = torch.linalg.inv(to_yiq) @ turn_B33 @ to_yiq * (b_B * c_B).view(-1, 1, 1)
    mixed_B3THW = torch.bmm(sent(matrix_B33.to(x_B3THW.dtype), x_B3THW.device), x_B3THW.flatten(2)).view_as(x_B3THW)
    mean_B1T11 = grey(x_B3THW).mean((-2, -1), keepdim=True).unsqueeze(1)
    offset_B1T11 = mean_B1T11 * _wide(b_B * (1 - c_B), x_B3THW)
    torch.add(mixed_B3THW, offset_B1T11, out=x_B3THW).clamp_(0, 1)


def _wide(factor_B: Tensor, x_B3THW: Tensor) -> Tensor:
    """``[B]`` made to broadcast over ``[B, 3, T, H, W]``, in its dtype and on its device."""
    return sent(factor_B.to(x_B3THW.dtype), x_B3THW.device).view(-1, 1, 1, 1, 1)
