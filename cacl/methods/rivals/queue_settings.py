"""Settings of the rivals that are MoCo with another query: MoCo's, and whether the batch has negatives too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from cacl.methods.rivals.moco_settings import MoCoSettings
from cacl.settings import Auto, Positive, Settings

SMALL: dict[str, Any] = {**MoCoSettings.presets["small"], "temperature": 0.1, "batch_negatives": True}


class QueueSettings(MoCoSettings):
    """MoCo's values; ``small`` has those of V-MoCo, so that nothing but the query differs."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"small": SMALL}

    queue_size: Auto | Positive = 65536
    batch_negatives: bool = False  # the keys of the batch's other videos are negatives too

    def options(self, settings: Settings) -> dict[str, Any]:
        """What :class:`cacl.methods.moco.MoCo` takes; no ``auto`` is left."""
        names = {"temperature", "momentum", "momentum_schedule", "queue_size", "mask_own_keys", "batch_negatives"}
        return {**self.model_dump(include=names), "projection": settings.model.projection}
