"""``cacl evaluate RUN``: the protocols on a finished run, its report, and the numbers as a dictionary."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import yaml

from cacl.config import Resolved
from cacl.data.dataset import Dataset, open_dataset
from cacl.errors import UserError
from cacl.evaluation.evaluate import Retrieval, evaluate_retrieval
from cacl.evaluation.neighbours import draw_neighbours
from cacl.evaluation.report import Setting, write_report
from cacl.models.encoder import Encoder
from cacl.runs import RunFolder
from cacl.training.run import Run
from cacl.training.videos import open_run_data


def evaluate(
    run: str | Path,
    videos: str | Path | None = None,
    *,
    protocol: Literal["retrieval"] = "retrieval",
    lists: str | Path | None = None,
    split: int = 1,
    beside: Sequence[str | Path] = (),
) -> dict[str, Any]:
    """Evaluate a finished run; writes ``results.json``, ``report.html`` and ``neighbours.png`` into its folder.

    Args:
        run: the run folder.
        videos: labelled videos with a train and a test part; by default the run's own.
        protocol: ``retrieval`` (paper section 4.3).
        lists: the data set's split lists, for other videos than the run's own.
        split: which split.
        beside: other finished runs on the same videos, for more rows of the table.

    Returns:
        ``{"retrieval": {row: {"R@1": percent, …}}, "degree": {…}}``.

    Raises:
        UserError: the run is not finished, or the videos have no labels or no test part.
    """
    main = Run(run)
    if main.finished is None:
        raise UserError(f"{main.path} is not finished; continue it: cacl pretrain --resume {main.path}")
    settings = main.settings
    folder = RunFolder.open(main.path)
    if videos is None:
        data = open_run_data(folder)
    else:
        height, width = settings.data.resize
        data = open_dataset(
            Path(videos), height=height, width=width, lists=None if lists is None else Path(lists), split=split
        )
    others = _distinct_names(main, [Run(other) for other in beside])
    encoders = {name: other.encoder for name, other in others.items()} | {_name(main): main.encoder}
    precision = settings.run.precision
    retrieval = evaluate_retrieval(
        encoders,
        main.untrained,
        data,
        seed=settings.run.seed,
        device=settings.run.device,
        autocast_dtype=None if precision in ("float32", "auto") else getattr(torch, precision),
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )
    results: dict[str, Any] = {"retrieval": retrieval.recalls}
    if "degree" in main.finished:
        results["degree"] = main.finished["degree"]
    if retrieval.skipped:
        print(f"{len(retrieval.skipped)} videos could not be read: {'; '.join(retrieval.skipped)}", file=sys.stderr)
    draw_neighbours(retrieval.neighbours, main.path / "neighbours.png")
    write_run_report(main, results, retrieval, data, beside=others)
    return results


def write_run_report(
    run: Run, results: dict[str, Any], retrieval: Retrieval, data: Dataset, *, beside: Mapping[str, Run]
) -> None:
    """``report.html`` with ``results.json`` beside it, in the run folder; ``beside``: name -> another run."""
    resolved = RunFolder(run.path).resolved
    settings = resolved.settings
    runs = {_name(run): run, **beside}
    metrics = {name: [row for row in each.metrics if row["kind"] == "train"] for name, each in runs.items()}
    finished = run.finished or {}
    write_report(
        run.path / "report.html",
        results,
        title=run.path.name,
        lead=f"{settings.model.network} of width {settings.model.width}, preset {settings.preset}.",
        facts={
            "steps": str(finished.get("steps", "")),
            "videos": f"{retrieval.gallery} train, {retrieval.queries} test",
            "device": f"{settings.run.device}, {settings.run.precision}",
        },
        warnings=finished.get("warnings", []),
        metrics=metrics,
        neighbours=retrieval.neighbours,
        settings=_settings(resolved),
        data=data.catalog.summary(),
        skipped=data.catalog.skipped,
        command=f"cacl evaluate {run.path}",
    )


def _settings(resolved: Resolved) -> list[Setting]:
    rows = []
    for section, values in resolved.settings.model_dump(mode="json").items():
        pairs = values.items() if isinstance(values, dict) else [("", values)]
        for name, value in pairs:
            key = f"{section}.{name}" if name else section
            text = yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("...").strip()
            rows.append(Setting(key, text, resolved.origins.get(key, "")))
    return rows


def _distinct_names(main: Run, others: Sequence[Run]) -> dict[str, Run]:
    """Row names of other runs: of two with the same method each has its folder's name too."""
    taken = Counter(_name(run) for run in [main, *others])
    names = [_name(run) if taken[_name(run)] == 1 else f"{_name(run)} ({run.path.name})" for run in others]
    again = Counter(names)
    pairs = zip(names, others, strict=True)
    return {name if again[name] == 1 else f"{_name(run)} ({run.path})": run for name, run in pairs}


def _name(run: Run) -> str:
    """What the run's method is called in the tables."""
    method = run.settings.method
    degree = method.degree_weight > 0
    names = {
        (): "sdp" if method.degree_sampling == "uniform" else "sdp*",
        ("gq_gk",): "sdp+v-moco" if degree else "v-moco",
        ("gq_gk", "gq_tq"): "pairs2",
        ("gq_gk", "gq_tq", "gq_tk"): "pairs3",
        ("gq_gk", "gq_tq", "gq_tk", "tq_tk"): "cacl" if degree else "v-moco+t",
    }
    return names.get(tuple(method.pairs), run.path.name)


def load(path: str | Path) -> Encoder:
    """The encoder of a run folder or an encoder folder, in evaluation mode: ``cacl.load("runs/gulls")(clips)``."""
    return Encoder.load(path).eval()
