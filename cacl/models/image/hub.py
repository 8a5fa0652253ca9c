"""Image networks as model hubs keep them: ``config.json`` and ``model.safetensors``, DINOv2 or a plain timm network.

Two forms are known: Hugging Face's DINOv2 (``model_type: dinov2``), and timm's (``architecture``: a plain vision
transformer, ResNet-18 or ResNet-50). Anything else can be exported to ONNX and imported as a file.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cacl.errors import UserError
from cacl.extras import install_extra
from cacl.files import read_object
from cacl.models.frame_encoder import build_frame_encoder
from cacl.models.image.encoder import Pooling
from cacl.models.image.vit import VisionTransformer, stretch_places, timm_names, vit_shape
from cacl.models.state_file import read_state

Colour = tuple[float, float, float]
_CONFIG, _WEIGHTS, _PIXELS, _CARD = "config.json", "model.safetensors", "preprocessor_config.json", "README.md"
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Repository:
    """What a repository of a hub holds.

    Attributes:
        source: its id, and the commit where that is known.
        licence: as its card or its config says; ``None`` where they do not.
        network: for ``config.json``.
        built: with its weights.
        size: side of a frame in pixels.
        mean, std: of pixels in [0, 1]; ``None`` where nothing says it.
        pooling: as the network is meant to be used.
    """

    source: str
    licence: str | None
    network: Mapping[str, Any]
    built: nn.Module
    size: int
    mean: Colour | None
    std: Colour | None
    pooling: Pooling


def is_repository(source: str) -> bool:
    """Whether it is a folder with a ``config.json``, or could be a hub's id."""
    path = Path(source)
    return (path / _CONFIG).is_file() if path.exists() else _ID.fullmatch(source) is not None


def read_repository(source: str, *, size: int | None) -> Repository:
    """The network of a hub's repository, or of a folder as the hub has it.

    Args:
        source: ``ORGANISATION/NAME`` or a folder.
        size: side of a frame; ``None``: what the repository says.

    Raises:
        UserError: it cannot be had, has no safetensors, or is a network that is not known here.
    """
    local = Path(source).is_dir()
    folder = Path(source) if local else _fetched(source)
    config = read_object(folder / _CONFIG)
    state = {name: value.float() for name, value in read_state(folder / _WEIGHTS, folder="a repository").items()}
    stated = config.get("pretrained_cfg")
    timm: dict[str, Any] = stated if isinstance(stated, dict) else {}
    pixels = timm or read_object(folder / _PIXELS)
    commit = "" if local else f"@{folder.name}"
    try:
        size = size or _stated_size(config, pixels) or 224
        network, built, pooling = _built(source, config, state, size)
        mean, std = (_colour(pixels.get(a, pixels.get(b))) for a, b in (("mean", "image_mean"), ("std", "image_std")))
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        reason = (str(error).splitlines() or [""])[0][:160]
        raise UserError(
            f"{source}: its weights do not fit its {_CONFIG} ({type(error).__name__}: {reason}); export it to ONNX "
            "and import the file."
        ) from error
    return Repository(f"{source}{commit}", _licence(folder, timm), network, built, size, mean, std, pooling)


def _fetched(repository: str) -> Path:
    """The folder in the hub's cache with what is needed of a repository; downloaded where it is not there."""
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise UserError(f"{repository} is had through huggingface_hub: {install_extra('hub')}.") from error
    try:
        config = Path(hub.hf_hub_download(repository, _CONFIG))
        hub.hf_hub_download(repository, _WEIGHTS, revision=config.parent.name)
    except Exception as error:  # of the hub, of the network, of the disk
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise UserError(
            f"{repository} cannot be had from the model hub ({reason}): check the name (it needs {_CONFIG} and "
            f"{_WEIGHTS}) and the connection, or give a folder with these files."
        ) from error
    for name in (_PIXELS, _CARD):
        try:
            hub.hf_hub_download(repository, name, revision=config.parent.name)
        except Exception:  # many repositories lack them; what then is missing is asked for
            continue
    return config.parent


def _built(
    source: str, config: Mapping[str, Any], state: Mapping[str, Tensor], size: int
) -> tuple[Mapping[str, Any], nn.Module, Pooling]:
    """(what builds it, the network with its weights, its pooling)."""
    architecture = str(config.get("architecture", config.get("model_type", "nothing")))
    if architecture in ("resnet18", "resnet50"):
        own = {name: value for name, value in state.items() if not name.startswith("fc.")}
        width = own["conv1.weight"].shape[0]
        resnet = build_frame_encoder(architecture, width=width)  # type: ignore[arg-type]
        resnet.load_state_dict(own)
        return {"name": architecture, "width": width}, resnet, "none"
    named = timm_names(state)
    known = architecture.startswith(("vit_", "dinov2")) and "blocks.0.mlp.fc1.weight" in named
    if not known or "blocks.0.attn.q_norm.weight" in named:
        raise UserError(
            f"{source} holds {architecture}, which is none of DINOv2, plain vision transformers of timm, resnet18 and "
            "resnet50: export it to ONNX and import the file."
        )
    arguments = vit_shape(
        named, heads=config.get("num_attention_heads"), size=size, epsilon=float(config.get("layer_norm_eps", 1e-6))
    )
    named["pos_embed"] = stretch_places(named["pos_embed"], size // int(str(arguments["patch"])))
    with torch.device("meta"):
        vit = VisionTransformer(**arguments)  # type: ignore[arg-type]
    vit.load_state_dict(named, assign=True)
    pooled: Pooling = "mean" if config.get("global_pool") == "avg" else "class"
    return {"name": "vit", **arguments}, vit, pooled


def _stated_size(config: Mapping[str, Any], pixels: Mapping[str, Any]) -> int | None:
    """Side of a frame: timm's ``input_size``, or the crop of Hugging Face's preprocessor."""
    if isinstance(found := pixels.get("input_size"), list):
        return int(found[-1])
    crop = pixels.get("crop_size", config.get("image_size"))
    if isinstance(crop, dict):
        crop = crop.get("height")
    return None if crop is None else int(crop)


def _colour(values: Any) -> Colour | None:
    if values is None:
        return None
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _licence(folder: Path, timm: Mapping[str, Any]) -> str | None:
    """What the config or the head of the card says."""
    if isinstance(timm.get("license"), str):
        return str(timm["license"])
    try:
        text = (folder / _CARD).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    head = text.split("---")[1] if text.startswith("---") and text.count("---") >= 2 else ""
    match = re.search(r"^license:\s*([\w.+-]+)\s*$", head, re.MULTILINE)
    return match.group(1) if match else None
