"""The video transformer T: frame features of a clip and its shuffled twin in, one embedding out (paper section 3.2).

The frame encoder is frozen and sees the same pixels in clip and twin, so a caller encodes and projects each frame once
(``embed``), takes the twin's tokens by permuting the clip's, and calls ``forward`` on both, one after the other.

Names in the authors' checkpoints, below ``encoder_transformer.`` (and ``encoder_transformer_k.``):
``video_embed.embed_head`` is ``frame_embed`` here; ``cls_token``, ``pos_embed``, ``blocks.i.*``, ``norm`` and
``embed_head`` are called the same; ``video_embed.extract_feature_net.*`` is the frame encoder, a module apart here.

Shapes: B batch, T frames a clip, L = clips * T tokens, D width, F features of a frame, h heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head self-attention without bias in qkv, scale (D/h)^-1/2."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def split(self, x_BLD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each ``[B, h, L, D/h]``."""
        B, L, D = x_BLD.shape
        qkv: Tensor = self.qkv(x_BLD)
        q, k, v = qkv.view(B, L, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        return q, k, v

    def forward(self, x_BLD: Tensor) -> Tensor:
        """``[B, L, D]`` to the same shape."""
        y = F.scaled_dot_product_attention(*self.split(x_BLD))  # [B, h, L, D/h]
        return self.proj(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def weights(self, x_BLD: Tensor) -> Tensor:
        """The attention itself, ``[B, h, L, L]``: row = the token that looks, rows sum to 1."""
        q, k, _ = self.split(x_BLD)
        return ((q @ k.transpose(-2, -1)).float() / math.sqrt(q.shape[-1])).softmax(-1)


class Mlp(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """``[B, L, D]`` to the same shape."""
        return self.fc2(F.gelu(self.fc1(x_BLD)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden)

    def forward(self, x_BLD: Tensor) -> Tensor:
        """``[B, L, D]`` to the same shape."""
        x_BLD = x_BLD + self.attn(self.norm1(x_BLD))
        return x_BLD + self.mlp(self.norm2(x_BLD))  # type: ignore[no-any-return]


class VideoTransformer(nn.Module):
    """A transformer encoder over the frame tokens of ``clips`` clips (paper section 3.2 and 4.1).

    Defaults are the paper's: 6 layers, 6 heads of 128, MLP ratio 4, [CLS] and 2 x 16 tokens, 128 numbers out. Class
    token and position embedding start as truncated normal of σ .02, all else as PyTorch does; LayerNorm eps 1e-5; no
    dropout.

    Args:
        in_features: F, length of a frame's features (``ResNet.num_features``).
        frames: T, frames a clip.
        clips: how many clips are read together: 2 (clip and twin), or 1 where a method has no twin.
        width: D, a multiple of ``heads``.
        out: length of the embedding.
    """

    def __init__(
        self,
        in_features: int,
        *,
        frames: int = 16,
        clips: int = 2,
        width: int = 768,
        depth: int = 6,
        heads: int = 6,
        mlp_ratio: float = 4,
        out: int = 128,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.tokens = clips * frames
        self.width = width
        self.frame_embed = nn.Linear(in_features, width)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.tokens, width))
        self.blocks = nn.ModuleList(Block(width, heads, round(width * mlp_ratio)) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.embed_head = nn.Linear(width, out)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def embed(self, features_BTF: Tensor) -> Tensor:
        """Frame features ``[..., F]`` to tokens ``[..., D]``; each frame on its own, so permuting commutes with it."""
        return self.frame_embed(features_BTF)  # type: ignore[no-any-return]

    def forward(self, tokens_BLD: Tensor) -> Tensor:
        """The [CLS] embedding.

        Args:
            tokens_BLD: ``[B, clips * T, D]`` from ``embed``: the clip's tokens, then the twin's.

        Returns:
            ``[B, out]``, not normalised.
        """
        x_BLD = self._with_class_and_position(tokens_BLD)
        for block in self.blocks:
            x_BLD = block(x_BLD)
        return self.embed_head(self.norm(x_BLD[:, 0]))  # type: ignore[no-any-return]

    def attention(self, tokens_BLD: Tensor) -> Tensor:
        """First-layer attention (figure 3): float32 ``[B, h, 1 + L, 1 + L]``, [CLS] first, rows sum to 1."""
        block = self.blocks[0]
        assert isinstance(block, Block)
        return block.attn.weights(block.norm1(self._with_class_and_position(tokens_BLD)))

    def _with_class_and_position(self, tokens_BLD: Tensor) -> Tensor:
        if tokens_BLD.shape[1:] != (self.tokens, self.width):
            raise ValueError(
                f"tokens are {list(tokens_BLD.shape)}, expected [B, {self.tokens}, {self.width}]: "
                "clips * frames tokens, each from embed()"
            )
        cls_B1D = self.cls_token.expand(len(tokens_BLD), -1, -1)
        return torch.cat([cls_B1D, tokens_BLD], 1) + self.pos_embed
