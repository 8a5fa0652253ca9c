"""Others' names of the layers that our networks have: torchvision's video ResNets, and the C3D of PRP."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

STEM = "stem.0.weight"
PRP_STEM = "conv1.conv3d.0.weight"
_FULL = {"0.": "conv1.temporal_spatial_conv.", "1.": "bn1."}  # the stem, by its place in torchvision's sequence
_FACTORISED = {"0.": "conv1.spatial_conv.", "1.": "conv1.bn.", "3.": "conv1.temporal_conv.", "4.": "bn1."}
_INNER = {"0": "spatial_conv", "1": "bn", "3": "temporal_conv"}  # of a factorised convolution
_LAYER = re.compile(r"layer([1-4])\.(\d+)\.(conv1|conv2|downsample)\.([01])\.(?:([013])\.)?(\w+)")
_PRP_LAYER = re.compile(r"conv([1-5])(?:_([12]))?\.conv3d\.([01])\.(\w+)")


def from_torchvision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of ``r3d_18`` or ``r2plus1d_18`` under the names of ours with the very same layers.

    Args:
        state: without its classifier ``fc``. Names that are none of its layers' stay as they are.
    """
    stem = _FACTORISED if "stem.3.weight" in state else _FULL
    return {_torchvision(name, stem): value for name, value in state.items()}


def from_prp(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of PRP's C3D under the names of ours. Names that are none of its layers' stay as they are."""
    return {_prp(name): value for name, value in state.items()}


def _torchvision(name: str, stem: Mapping[str, str]) -> str:
    for theirs, ours in stem.items():
        if name.startswith(f"stem.{theirs}"):
            return ours + name.removeprefix(f"stem.{theirs}")
    found = _LAYER.fullmatch(name)
    if found is None:
        return name
    stage, number, part, place, inner, rest = found.groups()
    block = "block1" if number == "0" else f"blocks.{int(number) - 1}"
    convolution, norm = ("downsampleconv", "downsamplebn") if part == "downsample" else (part, f"bn{part[-1]}")
    layer = f"{convolution}.{_INNER.get(inner, 'temporal_spatial_conv')}" if place == "0" else norm
    return f"conv{int(stage) + 1}.{block}.{layer}.{rest}"


def _prp(name: str) -> str:
    found = _PRP_LAYER.fullmatch(name)
    if found is None:
        return name
    stage, part, place, rest = found.groups()
    return f"{'conv' if place == '0' else 'bn'}{stage}{'ab'[int(part) - 1] if part else ''}.{rest}"
