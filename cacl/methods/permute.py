"""The shuffled twin: its frames, and the tokens of its frames, are those of the clip in another order.

Shapes: B batch, C channels, T frames, H W pixels, D width of a token.
"""

from __future__ import annotations

import torch
from torch import Tensor


def permute_frames(x_BCTHW: Tensor, permutation_BT: Tensor) -> Tensor:
    """The twin: frame t is frame ``permutation[t]`` of the clip, in the clip's memory format."""
    rows_B1 = torch.arange(len(x_BCTHW), device=x_BCTHW.device)[:, None]
    return formatted(x_BCTHW.transpose(1, 2)[rows_B1, permutation_BT].transpose(1, 2), like=x_BCTHW)


def formatted(x_BCTHW: Tensor, *, like: Tensor) -> Tensor:
    """``x`` laid out in memory as another tensor is: channels last, or not."""
    last = like.is_contiguous(memory_format=torch.channels_last_3d) and not like.is_contiguous()
    return x_BCTHW.contiguous(memory_format=torch.channels_last_3d if last else torch.contiguous_format)


def permute_tokens(tokens_BTD: Tensor, permutation_BT: Tensor) -> Tensor:
    """Row t is row ``permutation[t]``."""
    rows_B1 = torch.arange(len(tokens_BTD), device=tokens_BTD.device)[:, None]
    return tokens_BTD[rows_B1, permutation_BT]
