"""An encoder folder or a run, opened as the kind of encoder that it holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from cacl.models.clip_encoder import ClipEncoder
from cacl.models.encoder import restore_encoder
from cacl.models.encoder_folder import read_encoder_folder
from cacl.models.fused import restore_fused
from cacl.models.image.encoder import restore_image_encoder


def load_encoder(path: str | Path) -> ClipEncoder:
    """The encoder in an encoder folder or in a run folder, on the CPU, in eval mode. Runs no code from it.

    Raises:
        UserError: no encoder there, a damaged or missing file, or a version that is not known.
    """
    return restore(*read_encoder_folder(path)).eval()


def restore(folder: Path, config: Mapping[str, Any], state: Mapping[str, Tensor]) -> ClipEncoder:
    """The encoder that a ``config.json`` and weights describe, other files of it being in ``folder``.

    Raises:
        UserError: they do not belong together, or a file is missing or damaged.
    """
    kind = config.get("kind")
    if kind == "image":
        return restore_image_encoder(folder, config, state)
    if kind == "fused":
        return restore_fused(folder, config, state)
    return restore_encoder(folder, config, state)
