"""Optimisers and learning rates (paper section 4.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch

from cacl.methods.contract import Method


def build_optimizer(
    method: Method, *, optimizer: Literal["sgd", "adamw"], lr: float, weight_decay: float
) -> torch.optim.Optimizer:
    """SGD with momentum .9, as the paper, or AdamW, over the parameter groups of all objectives of the method.

    AdamW leaves biases and normalisation out of the decay, as is usual with it; SGD decays all, as the authors' code.
    All parameters are moved in one kernel where PyTorch has it: faster on CPUs too (``benchmarks/RESULTS.md``).
    """
    groups: list[dict[str, Any]] = []
    for group in (group for groups in method.parameter_groups().values() for group in groups):
        decay = weight_decay if group.decay is None else group.decay
        rates = {"scale": group.scale, "constant": group.constant}
        if optimizer == "sgd":
            groups.append({"params": list(group.parameters), "weight_decay": decay, **rates})
            continue
        groups.append({"params": [p for p in group.parameters if p.ndim > 1], "weight_decay": decay, **rates})
        groups.append({"params": [p for p in group.parameters if p.ndim <= 1], "weight_decay": 0.0, **rates})
    fused = all(p.device.type in ("cpu", "cuda") for group in groups for p in group["params"])
    if optimizer == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=0.9, fused=fused)
    return torch.optim.AdamW(groups, lr=lr, fused=fused)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """The schedule's rate in every group, times its scale; but a group with a constant rate keeps that."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["scale"] if group["constant"] is None else group["constant"]


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """The state of a checkpoint; what an older version did not write of a group's rates stays as it was built."""
    rates = [{key: group[key] for key in ("scale", "constant")} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, own in zip(optimizer.param_groups, rates, strict=True):
        group.update(own)


def learning_rate(
    step: int,
    *,
    lr: float,
    schedule: Literal["cosine", "step"],
    schedule_per: Literal["step", "epoch"],
    milestones: Sequence[int],
    milestone_factor: float = 0.1,
    warmup_epochs: float,
    steps_per_epoch: int,
    epochs: int,
    first_epoch: int = 0,
) -> float:
    """The learning rate of a step, counted from 0: a function of the step, so that resuming restores nothing.

    ``cosine`` falls from ``lr`` to 0 over the run, by the step or once an epoch (as the authors' code); ``step``
    multiplies by ``milestone_factor`` at each milestone (in epochs). A linear warm-up over ``warmup_epochs`` comes
    before. With ``first_epoch`` 1, as the authors' code, what moves by the epoch is one epoch ahead: the last one's
    cosine is 0.
    """
    warmup = round(warmup_epochs * steps_per_epoch)
    if step < warmup:
        return lr * (step + 1) / warmup
    epoch = step // steps_per_epoch + first_epoch
    if schedule == "step":
        return lr * milestone_factor ** sum(epoch >= milestone for milestone in milestones)
    if schedule_per == "epoch":
        return lr * (1 + math.cos(math.pi * epoch / epochs)) / 2
    return lr * (1 + math.cos(math.pi * (step - warmup) / max(1, epochs * steps_per_epoch - warmup))) / 2
