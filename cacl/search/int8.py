"""Inner products of 8-bit integers, many rows by a few queries, exact: PyTorch's kernels for quantised linear layers.

The kernel is made for activations of any range, which it rounds itself. Here it is handed whole numbers that span its
range exactly, so that it has nothing to round and its scale is 1: what comes back are the whole numbers that the
products are (up to 2²⁴; beyond, rounded as float32 is). Kernels differ in that range, and a processor without the
right instructions adds in 16 bits and overflows where 8 bits meet 8 bits; with 7 bits it cannot. So what a kernel says
of rows and queries at the ends of the range is compared with what is right before it is used at all.

Legend: c rows of a block, d numbers each, m queries.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MOST = 127  # rows hold -127 … 127
BLOCK = 32_768  # rows packed together: as fast as all in one, and 64 MiB as float32 while they are packed
_WIDEST = 65_536  # numbers a row, for which sums stay far within 32 bits


@dataclass(frozen=True)
class Kernel:
    """Which whole numbers queries may hold, ``low`` to ``high``, both included."""

    low: int
    high: int

    def pack(self, rows: NDArray[np.int8]) -> Any:
        """A block of rows, int8 ``[c, d]``, as the kernel wants them; opaque."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the type is announced to go; `usable` notices when it is gone
            whole = torch.quantize_per_tensor(torch.from_numpy(rows).float(), 1.0, 0, torch.qint8)
        return torch.ops.quantized.linear_prepack(whole, None)

    def queries(self, table: NDArray[np.float64]) -> Tensor:
        """Whole numbers within ``low`` … ``high``, ``[m, d]``, as float32, with both ends in more rows below them."""
        ends = np.resize(np.array([self.low, self.high], np.float32), (1 if table.shape[1] > 1 else 2, table.shape[1]))
        return torch.from_numpy(np.concatenate([table.astype(np.float32), ends]))

    def products(self, queries: Tensor, packed: Any) -> Tensor:
        """Of what ``queries`` and ``pack`` made, float32 ``[m, c]``, and more rows below them."""
        product: Tensor = torch.ops.quantized.linear_dynamic(queries, packed, self.high - self.low == MOST)
        return product


def give_back() -> None:
    """Let the system have what was freed between packed blocks: glibc keeps it, as much again as all of them take."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # other C libraries
        ctypes.CDLL(None).malloc_trim(0)


def usable(width: int) -> Kernel | None:
    """The kernel of this machine for rows of ``width`` numbers, or ``None`` where there is none that is exact."""
    engine = str(torch.backends.quantized.engine)
    return _usable(engine) if width <= _WIDEST else None


@functools.cache
def _usable(engine: str) -> Kernel | None:
    # QNNPACK takes 8 bits whatever it is asked, the others can be asked for 7.
    kernel = Kernel(-128, 127) if engine == "qnnpack" else Kernel(-64, 63)
    rng = np.random.default_rng(0)
    try:
        for width in (1, 3, 64, 515):
            rows = rng.integers(-MOST, MOST + 1, (37, width), dtype=np.int8)
            rows[:2] = [[MOST], [-MOST]]
            table = rng.integers(kernel.low, kernel.high + 1, (3, width)).astype(np.float64)
            table[1:] = [[kernel.low], [kernel.high]]
            found = kernel.products(kernel.queries(table), kernel.pack(rows)).numpy()
            if not np.array_equal(found[:3], table @ rows.T.astype(np.float64)):
                return None
    except (RuntimeError, AttributeError, TypeError):
        return None
    return kernel
