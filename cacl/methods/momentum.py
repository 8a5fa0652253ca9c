"""Momentum copies and the queue of keys, after MoCo (He et al. 2020; paper section 3.2).

Shapes: K queue length, D width of a key.
"""

from __future__ import annotations

import copy
import math
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

M = TypeVar("M", bound=nn.Module)


def momentum_copy(module: M) -> M:
    """An equal copy that never receives gradients; its BatchNorm statistics are its own."""
    key = copy.deepcopy(module)
    return key.requires_grad_(False)


@torch.no_grad()
def momentum_update(key: nn.Module, query: nn.Module, momentum: float) -> None:
    """``key = momentum * key + (1 - momentum) * query`` for every parameter; buffers stay the key's own."""
    keys, queries = list(key.parameters()), [parameter.detach() for parameter in query.parameters()]
    if len(keys) != len(queries):
        raise ValueError(f"the copy has {len(keys)} parameters, its query {len(queries)}")
    move = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]
    move(keys, queries, 0)  # all in one kernel where the device has it


def scheduled_momentum(base: float, schedule: Literal["constant", "cosine"], progress: float) -> float:
    """The momentum at ``progress`` in [0, 1] of training; ``cosine`` rises from ``base`` to 1 (Grill et al. 2020)."""
    if schedule == "constant":
        return base
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


class Queue(nn.Module):
    """K keys, first in first out, random unit vectors at the start (as the authors' code and MoCo).

    Attributes:
        keys: float32 ``[K, D]``, unit rows.
        videos: int64 ``[K]``, the video each key came from, -1 for the random ones.
        pointer: int64 scalar, where the next key goes.
    """

    keys: Tensor
    videos: Tensor
    pointer: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, width), dim=1))
        self.register_buffer("videos", torch.full((size,), -1, dtype=torch.int64))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, videos: Tensor) -> None:
        """Write ``[n, D]`` keys over the oldest, wrapping around; of more than K keys the last K stay."""
        size = len(self.keys)
        places = (self.pointer + torch.arange(len(keys), device=keys.device)) % size
        places, keys, videos = places[-size:], keys[-size:], videos[-size:]
        self.keys[places] = keys.detach().to(self.keys.dtype)
        self.videos[places] = videos
        self.pointer.copy_((places[-1] + 1) % size)
