"""What a folder or a file of weights is: encoders, classifiers, frame encoders, exports, and what others trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from cacl.errors import UserError
from cacl.models.exported import exported_config
from cacl.models.foreign import identify_network, read_foreign
from cacl.models.load import load_encoder
from cacl.models.weights import describe_frame_state, read_frame_state
from cacl.run_folder import how_to_mend

_WEIGHTS = {".pt", ".pth", ".tar", ".bin", ".ckpt", ".safetensors"}


def encoder_facts(folder: Path) -> dict[str, Any] | None:
    """What a folder with ``config.json`` and weights holds; ``None`` where the file is not one of cacl's.

    Raises:
        UserError: an encoder that ``cacl.load`` would refuse.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / 'config.json'} is damaged ({error}): {how_to_mend(folder)}.") from error
    kind = str(config.get("format", "")) if isinstance(config, dict) else ""
    if not kind.startswith("cacl "):
        return None
    if kind == "cacl encoder":
        encoder = load_encoder(folder)  # says what is wrong with it
        origin = {"imported from": config["imported_from"]} if "imported_from" in config else {}
        return {"kind": "encoder", **_described(config), "parameters": _parameters(encoder), **origin}
    plain = {key: value for key, value in config.items() if key not in ("format", "network", "clip")}
    facts: dict[str, Any] = {"kind": kind.removeprefix("cacl ")}
    facts |= {"network": _network(config)} if "network" in config else {}
    facts |= {"clip": config["clip"]} if "clip" in config else {}
    return facts | plain


def weights_facts(file: Path) -> dict[str, Any] | None:
    """What a file of weights holds; ``None`` where it is none that is known here.

    Raises:
        UserError: a file named like weights that cannot be read as tensors alone, or an ONNX file and no onnxruntime.
    """
    if file.suffix == ".pt2":
        return _exported("torch.export program", exported_config(file))
    if file.suffix == ".onnx":
        return _exported("ONNX file", exported_config(file))
    if file.suffix not in _WEIGHTS:
        return None
    if (config := exported_config(file)) is not None:
        return _exported("weights", config)
    try:
        found = read_foreign(file)
    except UserError as error:
        return _frame_weights(file, error)
    name, width = identify_network(found.state)
    return {
        "kind": "weights",
        "network": f"{name or 'a 3D CNN of unknown depth'} of width {width}",
        "names begin with": found.place or "nothing",
        "tensors": len(found.state),
        "beside them": f"{len(found.left_out)} other tensors",
        "to use it": f"cacl import {file} --out ENCODER",
    }


def _frame_weights(file: Path, refusal: UserError) -> dict[str, Any]:
    """A network over single frames, or the sentence that was said of the file as a 3D CNN."""
    try:
        described = describe_frame_state(read_frame_state(file))
    except UserError:
        raise refusal from None
    return {
        "kind": "weights",
        "network": f"{described or 'a ResNet'} over single frames",
        "to use it": f"--set model.frame_weights={file}",
    }


def _exported(kind: str, config: dict[str, Any] | None) -> dict[str, Any] | None:
    return None if config is None else {"kind": f"{kind} of cacl export", **_described(config)}


def _described(config: dict[str, Any]) -> dict[str, Any]:
    facts = {"network": _network(config), "features": config.get("num_features"), "clip": config.get("clip")}
    return {**facts, "cacl": config.get("cacl")}


def _network(config: dict[str, Any]) -> str:
    network = config.get("network")
    if config.get("kind") == "image":
        return f"{config['network']['name']}, frozen, from {config['source']} ({config['licence']})"
    if config.get("kind") == "fused":
        return f"{_network(config['own'])}, {config['weight']:g} times, beside {_network(config['image'])}"
    return f"{network.get('name')} of width {network.get('width')}" if isinstance(network, dict) else str(network)


def _parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
