"""The names of torchvision's video ResNets, as VideoMoCo and others save them, and ours for the same layers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

STEM = "stem.0.weight"
FACTORISED_STEM = "stem.3.weight"  # R(2+1)D's second convolution
_STEM = {"stem.0.": "conv1.temporal_spatial_conv.", "stem.1.": "bn1."}
_LAYER = re.compile(r"layer([1-4])\.(\d+)\.(conv1|conv2|downsample)\.([01])\.(.+)")


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of ``r3d_18`` under the names of our ``r3d18``, which has the very same layers.

    Args:
        state: without its classifier ``fc``. Names that are none of its layers' stay as they are.
    """
    return {_ours(name): value for name, value in state.items()}


def _ours(name: str) -> str:
    for theirs, ours in _STEM.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    found = _LAYER.fullmatch(name)
    if found is None:
        return name
    stage, number, part, place, rest = found.groups()
    block = "block1" if number == "0" else f"blocks.{int(number) - 1}"
    convolution, norm = ("downsampleconv", "downsamplebn") if part == "downsample" else (part, f"bn{part[-1]}")
    layer = f"{convolution}.temporal_spatial_conv" if place == "0" else norm
    return f"conv{int(stage) + 1}.{block}.{layer}.{rest}"
