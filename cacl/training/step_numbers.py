"""Numbers of a step stay on the device until they are fetched, many steps at once: no step waits for the one before.

Shapes: b samples of this process, N steps, M numbers of a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cacl.distributed.processes import summed, world


class StepNumbers:
    """One step's row for ``metrics.jsonl``, part of it still on the device.

    Attributes:
        row: what is known on the host.
        video: int64 ``[b]``, the videos of the batch.
    """

    def __init__(self, row: Mapping[str, Any], scalars: Mapping[str, Tensor], video: Tensor) -> None:
        """``scalars``: by name, means over this process's samples."""
        self.row, self.video = dict(row), video
        self._names = tuple(scalars)
        self._values_M = torch.stack([value.detach().float() for value in scalars.values()])

    @staticmethod
    def fetch(steps: Sequence[StepNumbers]) -> list[dict[str, Any]]:
        """Whole rows of steps with the same names; means over all processes, in one exchange."""
        if not steps:
            return []
        values_NM = torch.stack([step._values_M for step in steps])
        values_NM = values_NM if world() == 1 else summed(values_NM) / world()
        return [
            {**step.row, **dict(zip(step._names, values, strict=True))}
            for step, values in zip(steps, values_NM.tolist(), strict=True)
        ]
