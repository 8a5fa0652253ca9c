"""Small tensors that are made on the CPU, on their way to where the batch is."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(values: Tensor, device: torch.device) -> Tensor:
    """``values`` on ``device``. A GPU is not waited for: from ordinary memory a copy would wait for all of its work."""
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.contiguous().pin_memory().to(device, non_blocking=True)  # a column alone would be copied, and wait
