"""Frame-encoder weights to and from files: our folders, MoCo checkpoints, plain ResNet state dicts.

Nothing is ever unpickled beyond tensors and plain containers (``weights_only=True``), so that a file somebody sent is
safe to open. A file of another architecture is refused with a sentence that says what it holds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from cacl.errors import UserError
from cacl.files import write_whole, writing
from cacl.models.state_file import read_state

Colour = tuple[float, float, float]
Normalisation = tuple[Colour, Colour]  # mean and standard deviation

FORMAT = "cacl frame encoder"
# Where a ResNet lives in other people's checkpoints. MoCo v1 and v2: encoder_q; MoCo v3: base_encoder;
# the authors' CACL: the frozen ResNet-50 inside the transformer.
_PLACES = ("", "encoder_q.", "base_encoder.", "encoder_transformer.video_embed.extract_feature_net.", "backbone.")


def save_frame_weights(folder: str | Path, model: nn.Module) -> None:
    """Write a frame encoder as ``config.json`` and ``model.safetensors``.

    Args:
        folder: made when missing; the files in it are replaced, each in one step, ``config.json`` last.
        model: a ``ResNet``: its ``name``, ``width``, ``pixel_mean`` and ``pixel_std`` are written beside the weights.

    Raises:
        UserError: the folder cannot be written.
    """
    folder = Path(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    config = {"format": FORMAT, "version": 1, "name": model.name, "width": model.width}
    for key in ("pixel_mean", "pixel_std"):
        value = getattr(model, key)
        config[key] = None if value is None else [float(v) for v in value.flatten()]
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write_whole(folder / "model.safetensors", save(weights))
    write_whole(folder / "config.json", json.dumps(config, indent=2) + "\n")


def load_frame_weights(path: str | Path, model: nn.Module) -> None:
    """Copy the weights in ``path`` into ``model``, whatever kind of file it is.

    Args:
        path: a folder of ``save_frame_weights`` (or one that holds ``model.safetensors``), a ``.safetensors`` file, or
            a file that ``torch.save`` wrote: a plain ResNet state dict, or a checkpoint with ``state_dict`` (MoCo v1
            and v2: the query encoder is taken; MoCo v3; the authors' CACL: its frozen ResNet-50). Classifiers and
            projections (``fc.*``) are dropped; prefixes of ``DataParallel`` are understood.
        model: a ``ResNet`` from ``build_frame_encoder``. Left as it was when an error is raised. Its pixel
            normalisation is not touched: ``pixel_normalisation(path)`` tells what a folder says about it.

    Raises:
        UserError: no such file, not readable, or another architecture or width than ``model``.
    """
    path = Path(path)
    state = read_frame_state(path)
    wanted = model.state_dict()
    # BatchNorm's counter is of no use here, and old files lack it
    needed = {name for name in wanted if not name.endswith("num_batches_tracked")}
    if not needed <= state.keys() or any(state[name].shape != wanted[name].shape for name in needed):
        expected = describe_frame_state(wanted) or type(model).__name__
        found = describe_frame_state(state) or _first_difference(state, wanted, needed)
        raise UserError(
            f"{path} holds {found}, but the frame encoder is {expected}: "
            "set the frame encoder's name and width to those of the file, or give another file."
        )
    unknown = [name for name in state if name not in wanted]
    if unknown:
        raise UserError(
            f"{path} holds {describe_frame_state(state) or 'a network'} with layers that the frame encoder does not "
            f"have ('{unknown[0]}' and {len(unknown) - 1} more): give the weights of a plain ResNet."
        )
    broken = next((name for name in needed if not bool(torch.isfinite(state[name]).all())), None)
    if broken is not None:
        raise UserError(f"{path} holds values that are not finite (in '{broken}'): give an undamaged file.")
    model.load_state_dict({name: state.get(name, wanted[name]) for name in wanted})


def read_frame_state(path: str | Path) -> dict[str, Tensor]:
    """The ResNet in a file as a plain state dict: prefixes taken off, ``fc.*`` and everything else dropped.

    Raises:
        UserError: no such file, not readable, or no ResNet in it.
    """
    path = Path(path)
    entries = read_state(path, folder="a frame encoder's folder")
    for place in (prefix + p for p in _PLACES for prefix in ("", "module.")):
        stem = entries.get(f"{place}conv1.weight")
        if stem is not None and stem.ndim == 4:
            state = {name[len(place) :]: value for name, value in entries.items() if name.startswith(place)}
            # the plain place "" would take everything: keep what looks like a ResNet's own
            own = ("conv1.", "bn1.", "layer")
            return {name: value for name, value in state.items() if name.startswith(own)}
    names = ", ".join(f"'{name}'" for name in list(entries)[:3])
    raise UserError(
        f"{path} holds no ResNet for frames (no 2D 'conv1.weight'; {len(entries)} tensors in it: "
        f"{names or 'none'}): give a plain ResNet state dict, a MoCo checkpoint or a frame encoder saved by cacl."
    )


def describe_frame_state(state: Mapping[str, Tensor]) -> str | None:
    """``"resnet18 of width 64"`` for a ResNet's state dict, ``None`` when it is none that is known here."""
    identified = identify_frame_state(state)
    return None if identified is None else f"{identified[0]} of width {identified[1]}"


def identify_frame_state(state: Mapping[str, Tensor]) -> tuple[str, int] | None:
    """Name and width of a ResNet from its blocks a stage, its kind of block and its stem.

    Any of ResNet-18, 34, 50, 101 and 152 is named, so that a refusal can say what was found.
    """
    if "conv1.weight" not in state:
        return None
    counts = []
    for stage in range(1, 5):
        blocks = {name.split(".")[1] for name in state if name.startswith(f"layer{stage}.")}
        counts.append(len(blocks))
    kind = "bottleneck" if "layer1.0.conv3.weight" in state else "basic"
    known: dict[tuple[str, tuple[int, ...]], str] = {
        ("basic", (2, 2, 2, 2)): "resnet18",
        ("basic", (3, 4, 6, 3)): "resnet34",
        ("bottleneck", (3, 4, 6, 3)): "resnet50",
        ("bottleneck", (3, 4, 23, 3)): "resnet101",
        ("bottleneck", (3, 8, 36, 3)): "resnet152",
    }
    name = known.get((kind, tuple(counts)))
    return None if name is None else (name, int(state["conv1.weight"].shape[0]))


def trained_here(path: str | Path) -> bool:
    """Whether the weights are a folder of ours without pixel normalisation: what the frame stage of a run leaves."""
    file = Path(path) / "config.json"
    return file.is_file() and FORMAT in file.read_text("utf-8", "replace") and pixel_normalisation(path) is None


def pixel_normalisation(path: str | Path) -> Normalisation | None:
    """Pixel mean and standard deviation that a folder of ours gives for its weights; ``None`` for [0, 1] pixels."""
    file = Path(path) / "config.json"
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        mean, std = config.get("pixel_mean"), config.get("pixel_std")
        if mean is None:
            return None
        (r, g, b), (r_std, g_std, b_std) = mean, std
        return (float(r), float(g), float(b)), (float(r_std), float(g_std), float(b_std))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{file} is damaged ({error}): save the frame encoder again.") from error


def agreed_normalisation(path: str | Path, given: Normalisation | None) -> Normalisation | None:
    """The pixel normalisation of a folder of ours, or the one that was given where the file says nothing.

    Args:
        path: of the weights, whatever kind of file it is.
        given: mean and standard deviation that the user set, or None.

    Raises:
        UserError: both are there and differ.
    """
    stored = pixel_normalisation(path)
    if stored is None or given is None:
        return given or stored
    numbers = [[n for values in pair for n in values] for pair in (stored, given)]
    if not all(math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-7) for a, b in zip(*numbers, strict=True)):
        mean, std = ([round(n, 6) for n in values] for values in stored)
        raise UserError(
            f"{path} was trained on pixels normalised with mean {mean} and std {std}, but model.frame_mean is "
            f"{list(given[0])} and model.frame_std is {list(given[1])}: leave these two settings out."
        )
    return given


def _first_difference(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], needed: set[str]) -> str:
    """Words for a file that is no known ResNet: its first missing or differing entry."""
    return next(_differences(state, wanted, needed), "another network")


def _differences(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], needed: set[str]) -> Iterator[str]:
    for name in wanted:
        if name in needed and name not in state:
            yield f"a network without '{name}'"
        elif name in needed and state[name].shape != wanted[name].shape:
            yield f"a network whose '{name}' has shape {list(state[name].shape)} (not {list(wanted[name].shape)})"
