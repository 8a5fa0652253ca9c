"""3D CNNs that others trained: the authors' CACL checkpoints, the backbones of VCOP and its descendants, ``r3d_18``.

Their parameters have the names that ours have, or torchvision's, or PRP's, below a prefix or none, so a file says
itself which network it holds: name, depth and width are read off its tensors, and TCLR's network off its place. What it
cannot say is which clips it was trained on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from cacl.errors import UserError
from cacl.files import read_object
from cacl.models.cnn3d import BLOCKS, CNN3DName, build_cnn3d
from cacl.models.encoder import ClipSpec, Encoder, clip_from_config
from cacl.models.foreign_names import PRP_STEM, STEM, from_prp, from_torchvision
from cacl.models.state_file import read_state, stored_config
from cacl.run_folder import is_run

# Where a 3D CNN lives in other people's checkpoints, each also below ``module.`` (DataParallel). CACL: the query
# encoder's; VCOP, PRP and the authors' temporal task alone: base_network; RSPNet: encoder_q.encoder; VideoMoCo and MoCo
# over clips: encoder_q; TCLR, a sequence of backbone and head: 0; Pace, IIC and a plain backbone: none.
_PLACES = ("encoder_q.base_network.", "base_network.", "encoder_q.encoder.", "encoder_q.", "backbone.", "0.", "")
_STEMS = {
    "conv1.weight": "c3d",
    "conv1.temporal_spatial_conv.weight": "r3d",
    "conv1.spatial_conv.weight": "r2plus1d",
}
# By the stem of a layout: how the names of a backbone begin, others beside it being heads; and how to make them ours.
_LAYOUTS: dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, Tensor]], dict[str, Tensor]]]] = {
    **dict.fromkeys(_STEMS, (("conv", "bn"), dict)),
    STEM: (("stem", "layer"), from_torchvision),
    PRP_STEM: (tuple(f"conv{n}{part}.conv3d" for n in range(1, 6) for part in ("", "_1", "_2")), from_prp),
}
_TCLR = ("0.", "module.0.")
_NAMED = 3  # tensors that a sentence names


@dataclass(frozen=True)
class ForeignNetwork:
    """A 3D CNN found in a file.

    Attributes:
        place: the prefix below which it was found, ``"module.encoder_q.base_network."``; empty for a plain backbone.
        state: its tensors, prefix off, as they are in the file.
        left_out: names of the other tensors: heads, momentum copies, queue, transformer.
    """

    place: str
    state: dict[str, Tensor]
    left_out: tuple[str, ...]


def read_foreign(path: str | Path) -> ForeignNetwork:
    """The 3D CNN in a checkpoint, whatever its prefix. Runs no code from the file.

    Args:
        path: a ``.safetensors`` file, or one that ``torch.save`` wrote: a state dict, or a checkpoint with one under
            ``state_dict`` or ``model``.

    Raises:
        UserError: no such file, not readable as tensors alone, or no 3D CNN in it.
    """
    entries = read_state(path, folder="a folder with weights")
    for place in (prefix + p for p in _PLACES for prefix in ("module.", "")):
        for stem, (parts, renamed) in _LAYOUTS.items():
            if getattr(entries.get(place + stem), "ndim", 0) == 5:
                names = [name for name in entries if name.startswith(tuple(place + part for part in parts))]
                others = tuple(name for name in entries if name not in set(names))
                return ForeignNetwork(place, renamed({name[len(place) :]: entries[name] for name in names}), others)
    found = ", ".join(f"'{name}'" for name in list(entries)[:_NAMED])
    raise UserError(
        f"{path} holds no C3D, R3D or R(2+1)D (no 'conv1' over time and space; {len(entries)} tensors in it: "
        f"{found or 'none'}): give a checkpoint of CACL, or a backbone as VCOP saves it."
    )


def identify_network(found: ForeignNetwork) -> tuple[CNN3DName | None, int]:
    """Which network was found, by its stem, its shortcuts and its blocks a stage, and its width.

    TCLR's has the tensors of ``r3d18`` and computes something else: it is told by its place, a sequence of two.

    Returns:
        Name and channels of the first stage. The name is ``None`` where the blocks are of no depth that is known here.
    """
    state = found.state
    stem = next(stem for stem in _STEMS if stem in state)
    family = _STEMS[stem]
    if family == "c3d":
        return "c3d", state[stem].shape[0]
    width = state.get("conv1.temporal_conv.weight", state[stem]).shape[0]
    kind = ""
    if family == "r3d" and found.place in _TCLR:
        kind = "tclr"
    elif family == "r2plus1d" and "conv3.block1.downsampleconv.temporal_spatial_conv.weight" in state:
        kind = "torchvision"
    names = (name for name in get_args(CNN3DName) if name.startswith(family) and name.partition("-")[2] == kind)
    return next((name for name in names if BLOCKS[name] == _blocks(state)), None), width


def import_encoder(
    path: str | Path, *, network: CNN3DName | None = None, clip: ClipSpec | None = None
) -> tuple[Encoder, ForeignNetwork]:
    """An encoder with the weights of a foreign checkpoint, in eval mode.

    Args:
        path: see ``read_foreign``.
        network: what it has to be; ``None``: whatever the file holds.
        clip: the clips it was trained on. ``None``: what the file says if ``cacl export`` wrote it, else the paper's
            (16 frames at stride 2, 112x112 of 128x171, pixels in [0, 1]). The authors' checkpoints are of such clips;
            VCOP's are of consecutive frames (stride 1).

    Raises:
        UserError: not readable, another network, values that are no finite numbers, or clips too small for it.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if (path.is_dir() or path.name == "model.safetensors") and _is_ours(folder):
        raise UserError(
            f"{folder} is a folder of cacl already, and says which clips its weights know: use it as it is."
        )
    if is_run(path):
        raise UserError(f"{path} is a run of cacl already, and says which clips its weights know: use it as it is.")
    found = read_foreign(path)
    identified, width = identify_network(found)
    name = network or identified
    if name is None:
        blocks = ", ".join(str(count) for count in _blocks(found.state))
        raise UserError(
            f"{path} holds stages of {blocks} residual blocks, which is none of {', '.join(BLOCKS)}: "
            "give a checkpoint of one of these."
        )
    if problems := _misfits(found.state, name, width):
        raise UserError(_refusal(path, found, name, width, problems))
    broken = next((n for n, v in found.state.items() if not (_counter(n) or bool(torch.isfinite(v).all()))), None)
    if broken is not None:
        raise UserError(f"{path} holds values that are not finite (in '{broken}'): give an undamaged file.")
    spec = clip or stored_clip(path) or ClipSpec()
    try:
        encoder = Encoder(name, width=width, clip=spec)
    except RuntimeError as error:
        raise UserError(
            f"Clips of {spec.frames} frames of {spec.size}x{spec.size} pixels are too small for the {name} in {path}: "
            "give the size that it was trained on."
        ) from error
    encoder.network.load_state_dict({**encoder.network.state_dict(), **found.state})
    return encoder.eval(), found


def check_import_place(folder: Path) -> None:
    """Raise UserError where ``cacl import`` would replace anything but what it has made before."""
    if folder.is_dir() and not any(folder.iterdir()):
        return
    if os.path.lexists(folder) and "imported_from" not in read_object(folder / "config.json"):
        raise UserError(f"{folder} exists and was not made by cacl import: choose another --out, or move it away.")


def stored_clip(path: str | Path) -> ClipSpec | None:
    """The clips that a ``.safetensors`` file of ``cacl export`` says it was trained on; ``None`` for other files."""
    config = stored_config(path)
    try:
        return None if config is None else clip_from_config(config)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _is_ours(folder: Path) -> bool:
    """Whether a folder has a ``config.json`` of cacl's."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and str(config.get("format", "")).startswith("cacl ")


def _misfits(state: Mapping[str, Tensor], name: CNN3DName, width: int) -> list[str]:
    """What of a state dict does not fit a network, in words, a tensor each; nothing when it does."""
    with torch.device("meta"):  # shapes without memory
        wanted = build_cnn3d(name, width=width).state_dict()
    problems = []
    for key, value in wanted.items():
        if key not in state:
            # BatchNorm's counter is of no use here, and old files lack it
            problems += [] if _counter(key) else [f"'{key}' is missing"]
        elif state[key].shape != value.shape:
            problems.append(f"'{key}' is {list(state[key].shape)} and should be {list(value.shape)}")
        elif not _counter(key) and not state[key].is_floating_point():
            problems.append(f"'{key}' is of {str(state[key].dtype).removeprefix('torch.')}")
    return problems + [f"'{key}' has no place in it" for key in state if key not in wanted]


def _refusal(path: Path, found: ForeignNetwork, name: CNN3DName, width: int, problems: list[str]) -> str:
    """The sentence for a file that does not fit: its first tensors, and which network would fit."""
    what = ", ".join(problems[:_NAMED])
    more = f", and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    fitting, _ = identify_network(found)
    if fitting is None or fitting == name or _misfits(found.state, fitting, width):
        advice = f"no network of cacl would: give an undamaged checkpoint of {', '.join(['c3d', *BLOCKS])}"
    else:
        advice = f"it holds {fitting} of width {width}: take --network {fitting}, or leave it out"
    return f"{path} does not fit {name} of width {width} ({what}{more}); {advice}."


def _blocks(state: Mapping[str, Tensor]) -> tuple[int, ...]:
    """Residual blocks in each of the four stages."""
    return tuple(
        1 + len({name.split(".")[2] for name in state if name.startswith(f"conv{stage}.blocks.")})
        for stage in range(2, 6)
    )


def _counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")
