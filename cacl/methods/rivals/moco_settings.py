"""The settings that the methods on MoCo's core share: temperature, momentum, queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from cacl.methods.curves import Curve
from cacl.methods.moco import MOCO_CURVES
from cacl.methods.queue_size import queue_size
from cacl.settings import Auto, MethodSettings, Positive, Rate, Settings, Unit

LARGEST_QUEUE = 6400

SMALL: dict[str, Any] = {  # as V-MoCo in the preset small, so that nothing but the method differs
    "temperature": 0.1,
    "momentum": 0.99,
    "momentum_schedule": "cosine",
    "queue_size": "auto",
    "mask_own_keys": True,
    "batch_negatives": True,
}


class MoCoSettings(MethodSettings):
    """MoCo's own values; ``small`` has those of V-MoCo."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"small": SMALL}

    temperature: Rate = 0.07
    momentum: Unit = 0.999
    momentum_schedule: Literal["constant", "cosine"] = "constant"
    queue_size: Auto | Positive = 65536
    mask_own_keys: bool = False  # keys of the query's own video are no negatives
    batch_negatives: bool = False  # the keys of the batch's other videos are negatives too

    def auto_values(self, *, videos: int) -> dict[str, tuple[Any, str]]:
        """``queue_size``: half an epoch of keys, within bounds."""
        if self.queue_size != "auto":
            return {}
        size, bound = queue_size(videos // 2, most=LARGEST_QUEUE)
        return {"method.queue_size": (size, f"{bound}half an epoch of keys, 1 a clip of {videos} videos")}

    def curves(self, frames: int) -> Sequence[Curve]:
        """Similarity of the two views, and to the queue."""
        return MOCO_CURVES

    def options(self, settings: Settings) -> dict[str, Any]:
        """What :class:`cacl.methods.moco.MoCo` takes; no ``auto`` is left."""
        names = {"temperature", "momentum", "momentum_schedule", "queue_size", "mask_own_keys", "batch_negatives"}
        return {**self.model_dump(include=names), "projection": settings.model.projection}
