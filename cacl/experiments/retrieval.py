"""A finished run's retrieval on videos: its numbers, the picture of neighbours and the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cacl.data.videos.dataset import Dataset
from cacl.distributed.processes import is_first
from cacl.errors import UserError, counted
from cacl.evaluation.evaluate import evaluate_retrieval
from cacl.evaluation.results import tasks_of
from cacl.files import writing
from cacl.machine.auto import check_device, usable_device
from cacl.reports.neighbours import draw_neighbours, neighbour_rows
from cacl.reports.run import keep_retrieval, write_run_report
from cacl.run import Run


def run_retrieval(
    run: Run,
    data: Dataset,
    *,
    place: Path | None = None,
    videos: Path | None = None,
    beside: Mapping[str, Run] | None = None,
    notes: Sequence[str] = (),
    command: str = "",
) -> dict[str, Any]:
    """Evaluate; write ``results.json``, ``retrieval.json``, ``report.html`` and ``neighbours.png``.

    Args:
        run: a finished run.
        data: labelled videos with a train and a test part.
        place: where to write; made when missing, by default the run folder.
        videos: what they are called, by default the folder that they are in.
        beside: name -> another run, for more rows of the table.
        notes: what is doubtful, in sentences for the results and the report.
        command: for the foot of the report.

    Returns:
        The numbers in percent, ``retrieval`` and the tasks; and ``notes``, where there are any.

    Raises:
        UserError: no labels, no part for testing, or a file cannot be written.
    """
    place = run.path if place is None else place
    finished, (device, autocast_dtype) = run.finished or {}, device_of(run)
    others = beside or {}
    retrieval = evaluate_retrieval(
        {name: other.encoder for name, other in others.items()} | {run.method: run.encoder},
        run.untrained,
        data,
        seed=run.settings.run.seed,
        device=device,
        autocast_dtype=autocast_dtype,
        say=_say,
    )
    results: dict[str, Any] = {"retrieval": retrieval.recalls}
    if place == run.path:  # the run's own videos
        results |= tasks_of(finished)
    if notes:
        results["notes"] = list(notes)
    if retrieval.skipped:
        _say(f"{counted(len(retrieval.skipped), 'video')} could not be read: {'; '.join(retrieval.skipped)}")
    if not is_first():
        return results
    with writing(place):
        place.mkdir(parents=True, exist_ok=True)
    rows = neighbour_rows(data, retrieval.neighbours)
    draw_neighbours(rows, place / "neighbours.png")
    keep_retrieval(place, retrieval, rows, videos=data.catalog.root if videos is None else videos, beside=others)
    write_run_report(run, results, place=place, finished=finished, command=command)
    return results


def device_of(run: Run) -> tuple[str, torch.dtype | None]:
    """Device and mixed precision of the run; the best device in float32 where this machine lacks the run's."""
    device, precision = run.settings.run.device, run.settings.run.precision
    try:
        check_device(device)
    except UserError:
        best, why = usable_device()
        _say(f"{run.path} was trained on {device}, which is not there; evaluating on {best} ({why}), in float32.")
        return best, None
    if precision == "bfloat16" and device.startswith("cuda") and torch.cuda.get_device_capability()[0] < 8:
        _say(f"{run.path} was trained in bfloat16, which this GPU has not; evaluating in float32.")
        return device, None
    return device, None if precision in ("float32", "auto") else getattr(torch, precision)


def _say(text: str) -> None:
    if is_first():
        print(text, file=sys.stderr, flush=True)
