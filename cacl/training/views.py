"""From a batch of clips to what a method sees: its views, and the random numbers that are its own.

Every draw is a function of (seed, epoch, sample), or of (seed, epoch, step) for what the whole batch shares.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.config import Augment
from cacl.data.clips.augment import AUGMENT_DRAWS, AugmentDraw, augment, centre_crop, draw_augmentation
from cacl.data.clips.batch import ClipBatch
from cacl.data.clips.upload import sent
from cacl.data.randomness import as_float32, uniform
from cacl.methods.contract import Method, MethodBatch, View

MakeViews = Callable[[ClipBatch], MethodBatch]


def augmented_views(
    method: Method,
    settings: Augment,
    *,
    seed: int,
    channels_last: bool,
    purpose: str = "clip",
    video_of: torch.Tensor | None = None,
) -> MakeViews:
    """How a batch becomes what ``method`` asks for.

    Args:
        settings: the augmentation.
        purpose: keeps the draws of two trainings apart.
        video_of: int64 on the device, for sources whose "videos" are frames: which video each belongs to.
    """

    def make(batch: ClipBatch) -> MethodBatch:
        samples = batch.sample.numpy()

        def drawn(what: str, count: int, counters: NDArray[np.int64] = samples) -> NDArray[np.float64]:
            return uniform(seed, f"{purpose} {what}", batch.epoch, counters, count)

        views = []
        for view in method.views:
            x_BCTHW = _seen(batch.clips[view.clip], view, settings, drawn)
            if channels_last:
                x_BCTHW = x_BCTHW.contiguous(memory_format=torch.channels_last_3d)
            views.append(x_BCTHW)
        device = batch.clips[0].device
        numbers = sent(torch.from_numpy(as_float32(drawn("method", method.uniforms))), device)
        step = np.array([batch.step], dtype=np.int64)
        shared = sent(torch.from_numpy(as_float32(drawn("step", method.shared, step)[0])), device)
        video = batch.video if video_of is None else video_of[batch.video]
        return MethodBatch(tuple(views), batch.targets, video, numbers, shared)

    return make


def _seen(
    clip_BTHWC: Tensor, view: View, settings: Augment, drawn: Callable[[str, int], NDArray[np.float64]]
) -> Tensor:
    """One view of one clip, float32 ``[B, 3, T, S, S]``."""
    a, (B, T, height, width, _) = settings, clip_BTHWC.shape
    if view.crop == "centre":
        return centre_crop(clip_BTHWC, a.size, mean=a.mean, std=a.std)

    def draw(uniforms: NDArray[np.float64]) -> AugmentDraw:
        return draw_augmentation(
            uniforms,
            height=height,
            width=width,
            size=a.size,
            crop=a.crop,
            area=a.area,
            flip=a.flip,
            jitter=a.jitter,
            jitter_p=a.jitter_p,
            gray_p=a.gray_p,
            blur_sigma=a.blur_sigma,
            blur_p=a.blur_p,
        )

    frame_draw = None
    if view.jitter == "frame":
        of_frames = drawn(f"view {view.draw} frames", T * AUGMENT_DRAWS)
        frame_draw = draw(of_frames.reshape(B * T, AUGMENT_DRAWS))
    own = draw(drawn(f"view {view.draw}", AUGMENT_DRAWS))
    return augment(clip_BTHWC, own, hue=a.hue, mean=a.mean, std=a.std, frame_draw=frame_draw)
