"""A vision transformer for frozen weights of others: DINOv2 as Hugging Face names it, and timm's plain ones.

Dosovitskiy et al. 2021, with the layer scale of Touvron et al. 2021 where the weights have it. Everything but the
number of heads is read off the tensors. Embeddings of places are stretched to the input size once.

Shapes: N frames, C=3 colours, H W pixels, L patches, K tokens (1 class, registers, L patches), D features.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HUGGING_FACE = (  # how timm, whose names are used here, calls them
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.register_tokens$", "reg_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.layer_scale([12])\.lambda1$", r"blocks.\1.ls\2.gamma"),
    (r"^encoder\.layer\.(\d+)\.(norm[12]|mlp\.fc[12])\.", r"blocks.\1.\2."),
    (r"^layernorm\.", "norm."),
)
_ATTENTION = re.compile(r"^encoder\.layer\.(\d+)\.attention\.attention\.query\.(weight|bias)$")


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x_NKD: Tensor) -> Tensor:
        return x_NKD * self.gamma


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x_NKD: Tensor) -> Tensor:
        N, K, D = x_NKD.shape
        q, k, v = self.qkv(x_NKD).view(N, K, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = F.scaled_dot_product_attention(q, k, v)
        y: Tensor = self.proj(mixed.transpose(1, 2).reshape(N, K, D))
        return y


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x_NKD: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(x_NKD)))
        return y


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, scaled: bool, epsilon: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=epsilon)
        self.attn = _Attention(width, heads)
        self.ls1 = _Scale(width) if scaled else nn.Identity()
        self.norm2 = nn.LayerNorm(width, eps=epsilon)
        self.mlp = _MLP(width, hidden)
        self.ls2 = _Scale(width) if scaled else nn.Identity()

    def forward(self, x_NKD: Tensor) -> Tensor:
        x_NKD = x_NKD + self.ls1(self.attn(self.norm1(x_NKD)))
        y: Tensor = x_NKD + self.ls2(self.mlp(self.norm2(x_NKD)))
        return y


class VisionTransformer(nn.Module):
    """``[N, 3, S, S]`` to the tokens after the last norm, ``[N, K, D]``, the class token first.

    Args:
        width: D.
        depth: blocks.
        heads: of each attention; divides ``width``.
        hidden: of each MLP.
        patch: side of a patch in pixels.
        size: side of the input in pixels, a multiple of ``patch``.
        registers: tokens between class and patches (Darcet et al. 2024).
        scaled: with layer scale.
        epsilon: of the norms.

    Raises:
        ValueError: ``heads`` or ``patch`` does not divide.
    """

    def __init__(
        self,
        *,
        width: int,
        depth: int,
        heads: int,
        hidden: int,
        patch: int,
        size: int,
        registers: int = 0,
        scaled: bool = False,
        epsilon: float = 1e-6,
    ) -> None:
        super().__init__()
        if width % heads or size % patch:
            raise ValueError(f"{heads} heads do not divide {width}, or patches of {patch} not {size} pixels")
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, width, patch, patch)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.reg_token = nn.Parameter(torch.zeros(1, registers, width)) if registers else None
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(_Block(width, heads, hidden, scaled, epsilon) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=epsilon)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """Frames to tokens."""
        patches_NLD = self.patch_embed["proj"](x_NCHW).flatten(2).transpose(1, 2)
        first = self.cls_token.expand(x_NCHW.shape[0], -1, -1)
        x_NKD = torch.cat([first, patches_NLD], dim=1) + self.pos_embed
        if self.reg_token is not None:
            registers = self.reg_token.expand(x_NCHW.shape[0], -1, -1)
            x_NKD = torch.cat([x_NKD[:, :1], registers, x_NKD[:, 1:]], dim=1)
        tokens_NKD: Tensor = self.norm(self.blocks(x_NKD))
        return tokens_NKD


def timm_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with timm's names: of Hugging Face's DINOv2, query, key and value joined; heads are left out.

    Raises:
        KeyError: a query without its key or value.
    """
    plain = {name.removeprefix("dinov2."): value for name, value in state.items()}
    found: dict[str, Tensor] = {}
    for name, value in plain.items():
        if match := _ATTENTION.match(name):
            number, what = match.groups()
            parts = [plain[name.replace(".query.", f".{part}.")] for part in ("query", "key", "value")]
            found[f"blocks.{number}.attn.qkv.{what}"] = torch.cat(parts)
            continue
        for pattern, ours in _HUGGING_FACE:
            name = re.sub(pattern, ours, name)
        found[name] = value
    own = ("cls_token", "reg_token", "pos_embed", "patch_embed.proj.", "blocks.", "norm.")
    return {name: value for name, value in found.items() if name.startswith(own)}


def vit_shape(state: Mapping[str, Tensor], *, heads: int | None, size: int, epsilon: float = 1e-6) -> dict[str, object]:
    """Arguments of ``VisionTransformer`` for a state dict with timm's names; 64 numbers a head where ``heads`` is None.

    Raises:
        KeyError: a tensor is missing that every such network has.
    """
    width, _, patch, _ = state["patch_embed.proj.weight"].shape
    return {
        "width": width,
        "depth": 1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks.")),
        "heads": heads or max(width // 64, 1),
        "hidden": state["blocks.0.mlp.fc1.weight"].shape[0],
        "patch": patch,
        "size": size,
        "registers": state["reg_token"].shape[1] if "reg_token" in state else 0,
        "scaled": "blocks.0.ls1.gamma" in state,
        "epsilon": epsilon,
    }


def stretch_places(pos_embed_1KD: Tensor, patches: int) -> Tensor:
    """Embeddings of places for ``patches`` x ``patches`` of them, bicubic; as they are where there are so many."""
    first, rest = pos_embed_1KD[:, :1], pos_embed_1KD[:, 1:]
    side = math.isqrt(rest.shape[1])
    if side == patches:
        return pos_embed_1KD
    grid = rest.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid.float(), size=(patches, patches), mode="bicubic", antialias=True)
    return torch.cat([first, grid.permute(0, 2, 3, 1).flatten(1, 2).to(first.dtype)], dim=1)
