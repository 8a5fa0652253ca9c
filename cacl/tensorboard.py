"""A training's curves as event files, for those who watch theirs in TensorBoard (``cacl[tensorboard]``).

Asked for by ``run.tensorboard``. ``tensorboard --logdir runs`` then has a line for each stage of each run.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cacl.errors import UserError
from cacl.extras import install_extra
from cacl.run_folder import Metrics

FOLDER = "tensorboard"  # of a run


class BoardMetrics(Metrics):
    """Rows of ``metrics.jsonl``, and every number of them as a scalar at its step."""

    def __init__(self, path: Path, *, kind: str, step: int) -> None:
        """As ``Metrics``; what the event files beside ``path`` have beyond ``step`` is shown no more."""
        from torch.utils.tensorboard import SummaryWriter

        super().__init__(path, kind=kind, step=step)
        # A session that starts at a step tells TensorBoard to drop what earlier files have from there on.
        self._board = SummaryWriter(str(path.with_name(FOLDER) / kind), purge_step=step + 1)

    def add(self, row: Mapping[str, Any]) -> None:
        """One row, whose ``step`` is a whole number. Raises UserError where it cannot be written."""
        super().add(row)
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                self._board.add_scalar(name, value, row["step"])

    def flush(self) -> None:
        """Bring the rows to disk. Raises UserError where they cannot be written."""
        super().flush()
        self._board.flush()

    def close(self) -> None:
        """Flush and close. Raises UserError where rows cannot be written."""
        super().close()
        self._board.close()


def check_tensorboard(wanted: bool) -> None:
    """Raise UserError where event files are asked for and cannot be written."""
    if wanted and find_spec("tensorboard") is None:
        raise UserError(
            f"run.tensorboard is true, and tensorboard is not installed: {install_extra('tensorboard')}, or set "
            "run.tensorboard=false."
        )
