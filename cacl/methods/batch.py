"""What goes into a method and what comes out of it: the contract between the loop and ``methods/``.

Shapes: B batch, C channels, T frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cacl.distributed.processes import world


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

    def detached(self) -> StepOutput:
        """The numbers without their graph."""
        terms = {name: term.detach() for name, term in self.terms.items()}
        return StepOutput(terms, self.metrics, self.features.detach(), self.keys, self.key_videos)


def joined(parts: Sequence[StepOutput]) -> StepOutput:
    """The outputs of a batch's equal parts as that of the batch, for ``after_step`` and for the log.

    Terms and metrics are means; features, keys and their videos come in the order that the whole batch would give.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    terms = {name: torch.stack([part.terms[name] for part in parts]).mean() for name in first.terms}
    metrics = {name: torch.stack([part.metrics[name] for part in parts]).mean() for name in first.metrics}
    features = torch.cat([part.features for part in parts], dim=-2)
    if first.keys is None or first.key_videos is None:
        return StepOutput(terms, metrics, features)
    kinds = len(first.keys) // (first.features.shape[-2] * world())  # keys a sample: of G, of G and T
    keys = torch.cat([p.keys.view(kinds, -1, p.keys.shape[1]) for p in parts if p.keys is not None], dim=1)
    videos = torch.cat([p.key_videos.view(kinds, -1) for p in parts if p.key_videos is not None], dim=1)
    return StepOutput(terms, metrics, features, keys.flatten(0, 1), videos.flatten())
