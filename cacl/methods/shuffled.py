"""ShuffleBN of MoCo v1: keys are computed by other processes than their queries, so that BatchNorm gives nothing away.

Where every process has BatchNorm of its own, the query and its key would share the statistics of one small batch, by
which the pair could be told without looking at the videos. So samples are dealt out anew for the keys.

Shapes: W processes, b samples of one process, B = W * b of the global batch.
"""

from __future__ import annotations

from torch import Tensor

from cacl.distributed.processes import gathered, own_rows, world


class Shuffled:
    """One step's order of the global batch, the same in every process."""

    def __init__(self, uniforms_b: Tensor) -> None:
        """``uniforms_b``: ``[b]`` in [0, 1), a random number of each sample; their order is the shuffle."""
        self._order_B = gathered(uniforms_b).argsort(stable=True)

    def out(self, rows: Tensor) -> Tensor:
        """Samples ``[b, …]`` of every process to those that are this one's for the keys, ``[b, …]``."""
        return rows if world() == 1 else own_rows(gathered(rows)[self._order_B])

    def back(self, rows: Tensor) -> Tensor:
        """What was computed of ``out``'s samples to the process of each sample."""
        return rows if world() == 1 else own_rows(gathered(rows)[self._order_B.argsort()])
