"""What goes into a method and what comes out of it: the contract between the loop and ``methods/``.

Shapes: B batch, C channels, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ViewBatch:
    """One batch as a method sees it.

    Attributes:
        views: augmented clips ``[B, 3, T, H, W]``, float32 in [0, 1] (or normalised), one tensor a view.
        targets: int64 tensors ``[B, …]`` that the method's ``plan`` asked for.
        video: int64 ``[B]``, which video each sample comes from.
        uniforms: float32 ``[B, U]`` in [0, 1), the method's own random numbers (dropout), each row a function of its
            sample alone.
    """

    views: tuple[Tensor, ...]
    targets: Mapping[str, Tensor]
    video: Tensor
    uniforms: Tensor

    def __post_init__(self) -> None:
        sizes = {len(view) for view in self.views} | {len(t) for t in self.targets.values()} | {len(self.video)}
        if sizes != {len(self.uniforms)}:
            raise ValueError(f"views, targets, video and uniforms must be equally long, found {sorted(sizes)}")


@dataclass(frozen=True)
class StepOutput:
    """What a step computed.

    Attributes:
        terms: named scalar loss terms with gradient, ``"total"`` among them.
        metrics: named detached scalars to log; these and the terms are means over the samples.
        features: G's features with gradient, ``[B, D]`` or, of clip and twin, ``[n, B, D]``: where each term's gradient
            is measured.
        keys: float32 ``[n, 128]`` for the queue, without gradient, or None; those of all processes, so that each has
            the same queue.
        key_videos: int64 ``[n]``, the video of each key.
    """

    terms: Mapping[str, Tensor]
    metrics: Mapping[str, Tensor]
    features: Tensor
    keys: Tensor | None = None
    key_videos: Tensor | None = None
