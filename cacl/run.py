"""A run as the Python API gives it: its encoder, settings, metrics and results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cacl.config import Settings
from cacl.errors import UserError, quoted
from cacl.models.encoder import Encoder
from cacl.run_folder import RunFolder, read_metrics


class Run:
    """A run folder made by ``pretrain``.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a run. Raises UserError when ``path`` is none."""
        self.path = RunFolder.open(Path(path)).path

    @property
    def settings(self) -> Settings:
        """Its settings, every ``auto`` worked out."""
        return RunFolder(self.path).resolved.settings

    @property
    def method(self) -> str:
        """What the run's method is called in tables: ``cacl``, an ablation, or the folder's name for any other."""
        resolved = RunFolder(self.path).resolved
        return resolved.settings.method.label(resolved.origins) or self.path.resolve().name

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Rows of ``metrics.jsonl``: ``kind`` is the stage (``frames``, ``train``), one row a step."""
        return read_metrics(self.path / "metrics.jsonl")

    @property
    def encoder(self) -> Encoder:
        """The trained 3D CNN. Raises UserError before the run is finished."""
        return Encoder.load(self.path / "encoder")

    @property
    def untrained(self) -> Encoder:
        """The same network with the run's own initial weights."""
        return Encoder.load(self.path / "initial")

    @property
    def finished(self) -> dict[str, Any] | None:
        """What the end of the run found: each task beside its baseline, health of the features, warnings."""
        file = self.path / "finished.json"
        if not file.exists():
            return None
        content: dict[str, Any] = json.loads(file.read_text())
        return content

    def report(self) -> Path:
        """Where ``report.html`` is: curves, settings, videos, and the table of retrieval once it was evaluated.

        Raises:
            UserError: the run is not finished, or the page was removed.
        """
        path = self.path / "report.html"
        if self.finished is None:
            raise UserError(f"{self.path} is not finished; continue it: cacl pretrain --resume {quoted(self.path)}")
        if not path.exists():
            raise UserError(f"{path} is not there; make it again: cacl report {quoted(self.path)}")
        return path

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {'finished' if self.finished is not None else 'not finished'})"
