"""``report.html`` of a run: at its end without retrieval, after ``cacl evaluate`` with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from cacl.config import Resolved
from cacl.data.catalog import Catalog
from cacl.data.shuffle import possible_degrees
from cacl.evaluation.evaluate import Retrieval
from cacl.evaluation.report import Setting, write_report
from cacl.runs import RunFolder
from cacl.training.run import Run


def write_run_report(
    run: Run,
    results: Mapping[str, Any],
    catalog: Catalog,
    *,
    finished: Mapping[str, Any],
    retrieval: Retrieval | None = None,
    beside: Mapping[str, Run] | None = None,
    command: str = "",
) -> Path:
    """``report.html`` with ``results.json`` beside it, in the run folder.

    Args:
        run: the run.
        results: numbers in percent, ``retrieval`` and ``degree``.
        catalog: the videos that they were measured on.
        finished: what ``finished.json`` says or will say.
        retrieval: for the picture of neighbours.
        beside: name -> another run in the table.
        command: what made the report.

    Returns:
        Where the page is.
    """
    resolved = RunFolder(run.path).resolved
    settings = resolved.settings
    facts = {"steps": str(finished.get("steps", ""))}
    if retrieval is not None:
        facts["videos"] = f"{retrieval.gallery} train, {retrieval.queries} {retrieval.part}"
    runs = {run.method: run, **(beside or {})}
    path = run.path / "report.html"
    write_report(
        path,
        results,
        title=run.path.resolve().name,
        lead=f"{settings.model.network} of width {settings.model.width}, preset {settings.preset}.",
        facts={**facts, "device": f"{settings.run.device}, {settings.run.precision}"},
        warnings=finished.get("warnings", []),
        metrics={name: [row for row in each.metrics if row["kind"] == "train"] for name, each in runs.items()},
        neighbours=[] if retrieval is None else retrieval.neighbours,
        first_batch=_picture(run.path / "samples" / "first-batch.png"),
        settings=_settings(resolved),
        data=catalog.summary(),
        skipped=catalog.skipped,
        command=command,
        main=run.method,
        degrees=len(possible_degrees(settings.data.frames)),
    )
    return path


def _settings(resolved: Resolved) -> list[Setting]:
    rows = []
    for section, values in resolved.settings.model_dump(mode="json").items():
        pairs = values.items() if isinstance(values, dict) else [("", values)]
        for name, value in pairs:
            key = f"{section}.{name}" if name else section
            text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
            rows.append(Setting(key, text, resolved.origins.get(key, "")))
    return rows


def _picture(path: Path) -> NDArray[np.uint8] | None:
    """A PNG as uint8 RGB ``[H, W, 3]``, or None where there is none."""
    if not path.exists():
        return None
    from matplotlib.image import imread

    image: NDArray[np.uint8] = (imread(path)[..., :3] * 255).round().astype(np.uint8)
    return image
