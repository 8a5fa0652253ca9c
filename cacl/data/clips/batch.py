"""A batch of clips as they were read, on its way from the loader to the device and to augmentation.

Shapes: B samples, T frames of a clip, H, W height and width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cacl.data.clips.upload import sent


@dataclass(frozen=True, slots=True, eq=False)
class ClipBatch:
    """Clips as they were read, before augmentation.

    Attributes:
        clips: uint8 ``[B, T, H, W, 3]``, one tensor a clip of the plan.
        targets: of the plans, ``[B, …]`` each.
        video: int64 ``[B]``, which video each sample was read from.
        sample: int64 ``[B]`` on the CPU, the sample's index in the epoch: the counter for what is drawn for it.
        epoch: from 0.
        step: within the epoch, from 0: the counter for what is drawn once for the whole batch.
    """

    clips: tuple[Tensor, ...]
    targets: Mapping[str, Tensor]
    video: Tensor
    sample: Tensor
    epoch: int
    step: int = 0

    def __post_init__(self) -> None:
        for clip in self.clips:
            if clip.ndim != 5 or clip.shape[-1] != 3 or clip.dtype != torch.uint8 or len(clip) != len(self):
                raise ValueError(
                    f"a clip must be uint8 [{len(self)}, T, H, W, 3], found {clip.dtype} {list(clip.shape)}"
                )
        for name, value in {"video": self.video, "sample": self.sample}.items():
            if value.dtype != torch.int64 or value.ndim != 1:
                raise ValueError(f"{name} must be int64 [B], found {value.dtype} {list(value.shape)}")
        for name, value in {"sample": self.sample, **self.targets}.items():
            if value.ndim < 1 or len(value) != len(self):
                raise ValueError(f"{name} must be [{len(self)}, …], found {list(value.shape)}")

    def __len__(self) -> int:
        return len(self.video)

    def __repr__(self) -> str:
        clips = ", ".join(str(list(clip.shape)) for clip in self.clips)
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in self.targets.items())
        return f"ClipBatch(epoch {self.epoch}, step {self.step}, clips {clips} uint8, targets: {shapes or 'none'})"

    def to(self, device: torch.device | str) -> ClipBatch:
        """The batch on another device; a GPU is not waited for where clips are pinned. ``sample`` stays here."""
        device = torch.device(device)
        targets = {name: sent(value, device) for name, value in self.targets.items()}
        clips = tuple(clip.to(device, non_blocking=True) for clip in self.clips)
        return ClipBatch(clips, targets, sent(self.video, device), self.sample, self.epoch, self.step)

    def parts(self, count: int) -> list[ClipBatch]:
        """The batch cut into ``count`` equal parts, its rows in order. Raises ValueError where that cannot be."""
        if len(self) % count:
            raise ValueError(f"{len(self)} samples cannot be cut into {count} equal parts")
        size = len(self) // count
        return [self._rows(slice(start, start + size)) for start in range(0, len(self), size)]

    def _rows(self, rows: slice) -> ClipBatch:
        targets = {name: value[rows] for name, value in self.targets.items()}
        clips = tuple(clip[rows] for clip in self.clips)
        return ClipBatch(clips, targets, self.video[rows], self.sample[rows], self.epoch, self.step)
