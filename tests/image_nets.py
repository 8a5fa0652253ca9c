"""Small image networks that tests make, as files that others might send."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cacl.models.image.vit import VisionTransformer

SIZE = 32


def small_cnn(features: int = 12) -> nn.Module:
    """``[N, 3, 32, 32]`` to ``[N, features]``; its BatchNorm has seen something."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU6(), nn.Conv2d(4, 8, 3, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, features),
    )  # fmt: skip
    network(torch.rand(8, 3, SIZE, SIZE))
    return network.eval()


def small_vit() -> VisionTransformer:
    """Two blocks of width 24 with layer scale and a register token, all of its numbers drawn."""
    torch.manual_seed(1)
    network = VisionTransformer(width=24, depth=2, heads=3, hidden=48, patch=8, size=SIZE, registers=1, scaled=True)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.3)
    return network.eval()


def write_pt2(network: nn.Module, file: Path, *, batch: int | None = None, size: int = SIZE) -> Path:
    """``torch.export`` of a network, for any number of frames or for ``batch``."""
    example = (torch.rand(batch or 2, 3, size, size),)
    free = None if batch else ({0: torch.export.Dim("batch")},)
    torch.export.save(torch.export.export(network, example, dynamic_shapes=free), file)
    return file


def write_onnx(network: nn.Module, file: Path, *, beside: bool = False) -> Path:
    """An ONNX file of a network; with its weights in a file ``beside`` it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (torch.rand(2, 3, SIZE, SIZE),), file, dynamo=True, external_data=beside, verbose=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )  # fmt: skip
    return file


def write_repository(
    folder: Path, state: dict[str, Tensor], config: dict, *, licence: str | None, **files: dict
) -> Path:
    """A folder as a model hub has it; ``files``: other JSON files by their names without ``.json``."""
    folder.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    if licence:
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n# A model\n")
    return folder


def hugging_face_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's names to those of Hugging Face's DINOv2, query, key and value apart."""
    found = {}
    for name, value in state.items():
        name = name.replace("blocks.", "encoder.layer.").replace(".ls", ".layer_scale").replace("gamma", "lambda1")
        name = name.replace("attn.proj", "attention.output.dense")
        if "attn.qkv" in name:
            for part, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                found[name.replace("attn.qkv", f"attention.attention.{part}")] = piece
            continue
        plain = {"cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings"}
        plain |= {"reg_token": "embeddings.register_tokens"}
        name = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        name = "layernorm." + name.removeprefix("norm.") if name.startswith("norm.") else name
        found[plain.get(name, name)] = value
    return found
