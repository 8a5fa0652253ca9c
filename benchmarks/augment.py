"""Batched augmentation against the same operators frame by frame, in the same run: ``python benchmarks/augment.py``.

Prints milliseconds a clip for both and their ratio, at the laptop's size and at the paper's. The frame-by-frame side is
written as one would at first: float frame, crop, flip, jitter with the full HSV round trip, blur as a convolution.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from cacl.data.clips.augment import AUGMENT_DRAWS, AugmentDraw, augment, draw_augmentation
from cacl.data.randomness import uniform


def shift_hue(x_3HW: Tensor, shift: float) -> Tensor:
    """RGB to HSV and back, as in textbooks."""
    value, channel = x_3HW.max(0)
    span = value - x_3HW.amin(0)
    red, green, blue = x_3HW
    safe = torch.where(span > 0, span, torch.ones_like(span))
    sextant = torch.where(
        channel == 0,
        (green - blue) / safe % 6,
        torch.where(channel == 1, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    hue = (sextant / 6 + shift) % 1 * 6
    saturation = torch.where(value > 0, span / value.clamp_min(1e-12), torch.zeros_like(value))
    parts = []
    for n in (5, 3, 1):
        k = (n + hue) % 6
        parts.append(value - value * saturation * torch.minimum(k, 4 - k).clamp(0, 1))
    return torch.stack(parts)


def jitter_frame(x_3HW: Tensor, factors: list[float], order: list[int]) -> Tensor:
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    for kind in order:
        f = factors[kind]
        if kind == 0:
            x_3HW = (f * x_3HW).clamp(0, 1)
        elif kind == 1:
            x_3HW = (f * x_3HW + (1 - f) * (x_3HW * weights).sum(0).mean()).clamp(0, 1)
        elif kind == 2:
            x_3HW = (f * x_3HW + (1 - f) * (x_3HW * weights).sum(0, keepdim=True)).clamp(0, 1)
        else:
            x_3HW = shift_hue(x_3HW, f)
    return x_3HW


def blur_frame(x_3HW: Tensor, sigma: float) -> Tensor:
    radius = math.ceil(3 * sigma)
    kernel = torch.exp(-(torch.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    padded = functional.pad(x_3HW[:, None], (radius,) * 4, mode="reflect")
    return functional.conv2d(functional.conv2d(padded, kernel), kernel.transpose(2, 3))[:, 0]


def frame_by_frame(frames_BTHWC: Tensor, draw: AugmentDraw) -> Tensor:
    clips = []
    for b, clip_THWC in enumerate(frames_BTHWC):
        top, left, height, width = draw.box[b].tolist()
        done = []
        for frame_HWC in clip_THWC:
            x = frame_HWC.permute(2, 0, 1).float() / 255
            x = x[:, top : top + height, left : left + width]
            x = x.flip(-1) if draw.flip[b] else x
            x = jitter_frame(x, draw.factor[b].tolist(), draw.order[b].tolist()) if draw.jitter[b] else x
            x = blur_frame(x, float(draw.sigma[b])) if draw.sigma[b] > 0 else x
            done.append(x)
        clips.append(torch.stack(done, dim=1))
    return torch.stack(clips)


def best_ms(work: Callable[[], object], repeats: int) -> float:
    """Least processor time of this thread over some runs, so that other programs count for little."""
    times = []
    for _ in range(repeats + 1):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return 1000 * min(times[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few clips, few repeats")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    batch, repeats = (4, 1) if quick else (16, 5)
    print(f"{'frames':>9} {'crop':>5} {'settings':>10} {'batched ms':>11} {'by frame ms':>12} {'ratio':>6}  max |diff|")
    for (height, width), size, sigma in (((64, 86), 56, 1.0), ((128, 171), 112, 2.0)):
        frames = torch.randint(0, 256, (batch, 16, height, width, 3), dtype=torch.uint8)
        numbers = uniform(0, "benchmark", 0, np.arange(batch), AUGMENT_DRAWS)
        for name, always in (("default", {}), ("all on", {"jitter_p": 1.0, "blur_p": 1.0})):
            draw = draw_augmentation(numbers, height=height, width=width, size=size, blur_sigma=(0.1, sigma), **always)
            difference = float((augment(frames, draw) - frame_by_frame(frames, draw)).abs().max())
            ours = best_ms(lambda f=frames, d=draw: augment(f, d), repeats) / batch
            theirs = best_ms(lambda f=frames, d=draw: frame_by_frame(f, d), repeats) / batch
            shape = f"{height}x{width}"
            print(
                f"{shape:>9} {size:>5} {name:>10} {ours:>11.2f} {theirs:>12.2f} {theirs / ours:>6.1f}  {difference:.1e}"
            )


if __name__ == "__main__":
    main()
