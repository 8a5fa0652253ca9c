"""The settings of CVRL, and how a run builds it from them.

Apart from ``cvrl.py``, so that what is wrong with a command is said before PyTorch is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cacl.methods.curves import MOCO_CURVES, Curve
from cacl.settings import MethodSettings, Rate, Settings

if TYPE_CHECKING:
    from torch import nn

    from cacl.methods.cvrl import CVRL
    from cacl.models.cnn3d import CNN3D


class CVRLSettings(MethodSettings):
    """The paper's value."""

    published: ClassVar[Mapping[str, Any]] = {
        "data.resize": [256, 342],
        "augment.size": 224,
        "augment.crop": "area",
        "augment.area": [0.3, 1.0],
        "model.projection": "mlp",
        "optim.lr": 0.32,
        "optim.weight_decay": 1e-6,
        "optim.schedule": "cosine",
        "optim.schedule_per": "step",
        "optim.warmup_epochs": 5.0,
        "optim.batch_size": 1024,
        "optim.epochs": 800,
    }

    name: Literal["cvrl"] = "cvrl"
    temperature: Rate = 0.1

    def curves(self, frames: int) -> Sequence[Curve]:
        """Similarity of the two clips, and of clips of different videos."""
        return MOCO_CURVES

    def build(self, settings: Settings, *, network: CNN3D, frame_encoder: nn.Module | None, videos: int) -> CVRL:
        """CVRL of clips of ``data.frames`` frames, ``data.stride`` apart."""
        from cacl.methods.cvrl import CVRL

        return CVRL(
            network,
            frames=settings.data.frames,
            stride=settings.data.stride,
            temperature=self.temperature,
            standardise=settings.model.standardise,
            projection=settings.model.projection,
        )
