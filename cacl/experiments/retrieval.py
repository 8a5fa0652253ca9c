"""A finished run's retrieval on videos: its numbers, the picture of neighbours and the report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cacl.data.videos.dataset import Dataset
from cacl.data.videos.recordings import recording
from cacl.distributed.processes import is_first
from cacl.errors import UserError, counted
from cacl.evaluation.choice.cost import milliseconds_a_video
from cacl.evaluation.choice.frozen_rows import FROZEN, FUSED, frozen_rows
from cacl.evaluation.choice.fuse import resized
from cacl.evaluation.choice.verdict import Verdict, Which, decide
from cacl.evaluation.evaluate import Retrieval, evaluate_retrieval
from cacl.evaluation.results import tasks_of
from cacl.files import writing
from cacl.machine.auto import check_device, usable_device
from cacl.models.clip_encoder import ClipEncoder
from cacl.models.fused import FusedEncoder
from cacl.reports.neighbours import draw_neighbours, neighbour_rows
from cacl.reports.run import keep_retrieval, write_run_report
from cacl.run import Run

CLIPS = 10  # a video, as in the paper


def run_retrieval(
    run: Run,
    data: Dataset,
    *,
    place: Path | None = None,
    videos: Path | None = None,
    beside: Mapping[str, Run] | None = None,
    fused: FusedEncoder | None = None,
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
        fused: the run's encoder beside a frozen one: a row of the frozen part, a row of both, and the verdict.
        notes: what is doubtful, in sentences for the results and the report.
        command: for the foot of the report.

    Returns:
        The numbers in percent, ``retrieval`` and the tasks; ``verdict`` and ``notes``, where there are any.

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
    verdict = None if fused is None else _with_frozen(retrieval, fused, data, run.method, device)
    results: dict[str, Any] = {"retrieval": retrieval.recalls}
    if verdict is not None:
        results["verdict"] = verdict.numbers
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


def _with_frozen(retrieval: Retrieval, fused: FusedEncoder, data: Dataset, own: str, device: str) -> Verdict:
    """Add the rows of the frozen part and of both to ``retrieval``, and say which of the three to use."""
    test, train = (
        [n for n in data.numbers(part) if data.catalog.videos[n].label is not None]
        for part in (data.test_part, "train")
    )
    _say(f"Features of {counted(len(train) + len(test), 'video')}, frozen and fused …")
    rows = frozen_rows(fused, resized(data, fused.clip), test, train, clips=CLIPS, device=device)
    own_row = retrieval.recalls.pop(own)
    retrieval.recalls.update({FROZEN: rows.recalls[FROZEN], own: own_row, FUSED: rows.recalls[FUSED]})
    right = {"own": retrieval.right[own], "frozen": rows.right[FROZEN], "fused": rows.right[FUSED]}
    numbers = sorted(set.intersection(*(set(found) for found in right.values())))
    fused = fused.cpu()
    parts: dict[Which, ClipEncoder] = {"own": fused.own, "frozen": fused.image, "fused": fused}
    return decide(
        {name: np.array([right[name][n] for n in numbers], np.float64) for name in parts},
        [recording(video) for video in data.videos(numbers)],
        by="R@1",
        cost={name: milliseconds_a_video(encoder, clips=CLIPS) for name, encoder in parts.items()},
    )


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
