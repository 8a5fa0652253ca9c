"""Optimisers and learning rates (paper section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import nn


def build_optimizer(
    module: nn.Module, *, optimizer: Literal["sgd", "adamw"], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """SGD with momentum .9, as the paper, or AdamW, over the parameters that want gradients.

    AdamW leaves biases and normalisation out of the decay, as is usual with it; SGD decays all, as the authors' code.
    All parameters are moved in one kernel where PyTorch has it: faster on CPUs too (``benchmarks/RESULTS.md``).
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    fused = all(p.device.type in ("cpu", "cuda") for p in parameters)
    if optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=weight_decay, fused=fused)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, fused=fused)


def learning_rate(
    step: int,
    *,
    lr: float,
    schedule: Literal["cosine", "step"],
    schedule_per: Literal["step", "epoch"],
    milestones: Sequence[int],
    warmup_epochs: float,
    steps_per_epoch: int,
    epochs: int,
    first_epoch: int = 0,
) -> float:
    """The learning rate of a step, counted from 0: a function of the step, so that resuming restores nothing.

    ``cosine`` falls from ``lr`` to 0 over the run, by the step or once an epoch (as the authors' code); ``step``
    multiplies by .1 at each milestone (in epochs). A linear warm-up over ``warmup_epochs`` comes before. With
    ``first_epoch`` 1, as the authors' code, what moves by the epoch is one epoch ahead: the last one's cosine is 0.
    """
    warmup = round(warmup_epochs * steps_per_epoch)
    if step < warmup:
        return lr * (step + 1) / warmup
    epoch = step // steps_per_epoch + first_epoch
    if schedule == "step":
        return lr * 0.1 ** sum(epoch >= milestone for milestone in milestones)
    if schedule_per == "epoch":
        return lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
    return lr * (1 + math.cos(math.pi * (step - warmup) / max(1, epochs * steps_per_epoch - warmup))) / 2
