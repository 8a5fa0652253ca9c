"""A run as the Python API gives it: its encoder, settings, metrics and results."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cacl.config import Settings
from cacl.data.catalog import Catalog
from cacl.errors import UserError
from cacl.evaluation.curves import read_metrics
from cacl.models.encoder import Encoder
from cacl.runs import RunFolder
from cacl.training.videos import open_run_data


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
        method = resolved.settings.method
        degree = method.degree_weight > 0
        # the preset released learns nothing from the degree head, and is the joint method nevertheless
        ablation = not degree and resolved.origins.get("method.degree_weight") == "method"
        names = {
            (): "sdp" if method.degree_sampling == "uniform" else "sdp*",
            ("gq_gk",): "sdp+v-moco" if degree else "v-moco",
            ("gq_gk", "gq_tq"): "pairs2",
            ("gq_gk", "gq_tq", "gq_tk"): "pairs3",
            ("gq_gk", "gq_tq", "gq_tk", "tq_tk"): "v-moco+t" if ablation else "cacl",
        }
        return names.get(tuple(method.pairs), self.path.resolve().name)

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
        """What the end of the run found: degree accuracy beside its baseline, health of the features, warnings."""
        file = self.path / "finished.json"
        if not file.exists():
            return None
        content: dict[str, Any] = json.loads(file.read_text())
        return content

    def report(self) -> Path:
        """``report.html``: curves, settings, videos, and the table of retrieval once ``cacl.evaluate`` has run.

        Every finished run has one. Where it was deleted it is made again, with retrieval where the run's videos have
        labels and a part for testing.

        Raises:
            UserError: the run is not finished.
        """
        path, found = self.path / "report.html", self.finished
        if found is None:
            raise UserError(f"{self.path} is not finished; continue it: cacl pretrain --resume {self.path}")
        if path.exists():
            return path
        from cacl.training.report import write_run_report
        from cacl.training.retrieval import run_retrieval

        catalog = Catalog.read_csv(self.path / "videos.csv", root=RunFolder(self.path).data["videos"])
        labelled = {video.split for video in catalog.videos if video.label is not None}
        if "train" in labelled and labelled & {"test", "val"}:
            run_retrieval(self, open_run_data(RunFolder(self.path)), command=f"cacl evaluate {self.path}")
            return path
        results = {key: found[key] for key in ("degree",) if key in found}
        return write_run_report(self, results, finished=found, command=f"cacl pretrain … --out {self.path}")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, {'finished' if self.finished is not None else 'not finished'})"
