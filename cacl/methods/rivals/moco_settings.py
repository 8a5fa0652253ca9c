"""Settings that rivals with a momentum copy and a queue share; under ``small`` they are equal, and V-MoCo's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from cacl.methods.cacl_settings import LARGEST_QUEUE
from cacl.methods.curves import MOCO_CURVES, Curve
from cacl.methods.queue_size import queue_size
from cacl.settings import Auto, MethodSettings, Positive, Rate, Settings, Unit

SMALL: dict[str, Any] = {
    "temperature": 0.1,
    "momentum": 0.99,
    "momentum_schedule": "cosine",
    "queue_size": "auto",
    "mask_own_keys": True,
    "batch_negatives": True,
}


class MoCoSettings(MethodSettings):
    """MoCo's values; ``small`` has those of V-MoCo, so that nothing but the method differs."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"small": SMALL}

    temperature: Rate = 0.07
    momentum: Unit = 0.999
    momentum_schedule: Literal["constant", "cosine"] = "constant"
    queue_size: Auto | Positive = 16384
    mask_own_keys: bool = False  # keys of the query's own video are no negatives
    batch_negatives: bool = False  # the keys of the batch's other videos are negatives too

    def auto_values(self, *, videos: int) -> dict[str, tuple[Any, str]]:
        """``queue_size``: half an epoch of keys, within bounds."""
        if self.queue_size != "auto":
            return {}
        size, bound = queue_size(videos // 2, most=LARGEST_QUEUE)
        return {"method.queue_size": (size, f"{bound}half an epoch of keys of {videos} videos")}

    def options(self, settings: Settings) -> dict[str, Any]:
        """What :class:`cacl.methods.moco.MoCo` takes; no ``auto`` is left."""
        model = settings.model
        own = self.model_dump(include=set(SMALL))
        return {**own, "projection": model.projection, "standardise": model.standardise}

    def curves(self, frames: int) -> Sequence[Curve]:
        """Similarity of positives and negatives."""
        return MOCO_CURVES
