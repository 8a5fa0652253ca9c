"""``cacl reproduce TABLE``: train what is missing, evaluate, and put ours beside the paper's row.

Everything is in one folder that the tables share: ``plan.json`` (scale, data, settings), ``runs/``,
``finetuned/``, ``results/`` (a file for each evaluation), and of every table ``.json``, ``.csv`` and ``.html``. Given
again, the same command goes on where it was.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from cacl.errors import UserError, did_you_mean
from cacl.experiments.plan_folder import check_plan, write_plan
from cacl.experiments.reproduce.paper_tables import PaperTable, SetName, TableName, paper_table
from cacl.experiments.reproduce.parts import Study, measured, trained, untrained
from cacl.experiments.reproduce.results import Measured, table_csv, table_results
from cacl.experiments.reproduce.scale import ScaleName, paper_places, scale_of, tiny_places
from cacl.files import read_object, write_whole
from cacl.presets import PUBLISHED
from cacl.reports.paper import write_paper_page
from cacl.run import Run
from cacl.run_folder import RunFolder


def reproduce(
    table: TableName | str,
    *,
    data: str | Path | None = None,
    scale: ScaleName | str = "tiny",
    seeds: int = 1,
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Make one of the paper's tables; what is finished in ``out`` is taken as it is.

    Args:
        table: ``table1`` to ``table5``, or ``fig3``.
        data: for ``paper``, the folder that holds the official data sets, a folder each (``ucf101``, ``hmdb51``,
            ``kinetics400``) with their lists.
        scale: ``paper``, the paper's recipe; or ``tiny``, which makes its own videos and takes minutes.
        seeds: so many trainings of every row, with the seeds 0, 1, …; the numbers are their mean. What is there of
            fewer is taken as it is.
        out: where everything goes, by default ``runs/reproduce-SCALE``; other tables of the same plan share it.

    Returns:
        What ``out/TABLE.json`` holds: as of :mod:`cacl.experiments.reproduce.results`.

    Raises:
        UserError: an unknown table or scale, data sets that are missing, an ``out`` that another plan made, or that
            has this table of more seeds.
        Stopped: SIGTERM or Ctrl-C in a training; the same call goes on.
    """
    paper, study = prepared(table, data=data, scale=scale, seeds=seeds, out=out)
    folder = study.folder.path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); choose another --out.") from error
    with study.folder as run:
        write_plan(run, _plan(data, scale))
        if scale == "tiny":
            study = replace(study, places=tiny_places(folder / "videos", paper.needed_sets, say=run.log))
        results = _made(study, paper, seeds)
        write_whole(folder / f"{paper.key}.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
        write_whole(folder / f"{paper.key}.csv", table_csv(results))
        write_paper_page(folder / f"{paper.key}.html", results, command=_command(paper.key, data, scale, seeds, folder))
        return results


def prepared(
    table: str, *, data: str | Path | None, scale: str, seeds: int, out: str | Path | None
) -> tuple[PaperTable, Study]:
    """Check a request, and write nothing: the table, and where it is to be made (of no data sets yet at tiny scale).

    Raises:
        UserError: as ``reproduce``.
    """
    paper, scales = paper_table(table), get_args(ScaleName)
    if scale not in scales:
        raise UserError(f"--scale is {scale}; it can be {' or '.join(scales)}.{did_you_mean(scale, scales)}")
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; it must be 1 or more.")
    if scale == "tiny" and data is not None:
        raise UserError("--scale tiny makes its own videos; leave out --data, or ask for --scale paper.")
    if scale == "paper" and data is None:
        raise UserError(
            f"--scale paper needs --data: the folder that holds {', '.join(paper.needed_sets)}; --scale tiny makes its "
            "own videos."
        )
    places = {} if data is None else paper_places(Path(data), paper.needed_sets)
    folder = Path("runs") / f"reproduce-{scale}" if out is None else Path(out)
    check_plan(folder, _plan(data, scale))
    _check_seeds(folder / f"{paper.key}.json", seeds)
    return paper, Study(RunFolder(folder), scale_of("paper" if scale == "paper" else "tiny"), places)


def _plan(data: str | Path | None, scale: str) -> dict[str, Any]:
    chosen = scale_of("paper" if scale == "paper" else "tiny")
    return {
        "verb": "reproduce",
        "scale": scale,
        "data": "no folder" if data is None else str(Path(data).resolve()),
        "settings": {"pretraining": dict(chosen.pretraining), "finetuning": dict(chosen.finetuning)},
    }


def _check_seeds(table: Path, seeds: int) -> None:
    """Raise UserError where the table is there already, of more seeds."""
    there = read_object(table).get("seeds")
    if isinstance(there, list) and len(there) > seeds:
        raise UserError(
            f"{table} is of {len(there)} seeds; you asked for --seeds {seeds}: give --seeds {len(there)} or more, or "
            "choose another --out."
        )


def _made(study: Study, table: PaperTable, seeds: int) -> dict[str, Any]:
    """Train and evaluate, seed after seed."""
    runs: list[Run] = []
    for seed in range(seeds):
        for number, wanted in enumerate(table.pretrainings, 1):
            study.folder.log(f"{table.key}, seed {seed}: {number} of {len(table.pretrainings)} trainings …")
            runs.append(trained(study, wanted, seed))
    found: dict[tuple[int, SetName], dict[int, Measured]] = {}
    without: dict[tuple[str, SetName], dict[int, Measured]] = {}
    for number, row in enumerate(table.rows):
        for on in row.paper if row.ours is not None else ():
            assert row.ours is not None
            for seed in range(seeds):
                one = measured(study, table.evaluation, row.ours, on, seed)
                found.setdefault((number, on), {})[seed] = one
                if table.evaluation == "retrieval" and row.ours.is_papers:
                    network = (row.facts["net"], on)
                    without.setdefault(network, {})[seed] = untrained(study, row.ours, on, seed)
    notes = [*_notes(study, table, seeds), *(_warnings(runs) if study.scale.name == "paper" else [])]
    return table_results(table, found, without, scale=study.scale.name, seeds=range(seeds), notes=notes)


def _notes(study: Study, table: PaperTable, seeds: int) -> list[str]:
    notes = []
    if study.scale.name == "tiny":
        stands_for = ", ".join(table.needed_sets)
        notes.append(
            f"Scale tiny: generated videos stand in for {stands_for}, the networks are narrow and the trainings short. "
            "The numbers show that everything runs, and cannot be compared with the paper's."
        )
        if table.evaluation == "recognition":
            notes.append("Fine-tuning is on one split; the paper averages over three.")
    of_others = list(dict.fromkeys(one.method for one in table.pretrainings if not one.is_papers))
    own_preset = [method for method in of_others if study.scale.preset_of(method) == PUBLISHED]
    if own_preset:
        notes.append(
            "The paper's own rows are trained with the same preset, videos, seeds and epochs. Those of others are "
            f"trained as their authors ran them, with the network of their row (preset published: "
            f"{', '.join(own_preset)}), or with the preset paper where no training of theirs is known."
        )
    else:
        notes.append("All rows are trained with the same preset, videos, seeds and epochs.")
    notes.append(
        "The frame encoder is trained once for each seed, on the frames of UCF101, and shared by all runs that need it."
    )
    if any(on != row.ours.videos for row in table.rows if row.ours for on in row.paper):
        notes.append(
            "Transfer: networks are pretrained on what their row says, none on HMDB51, and measured on both sets."
        )
    if seeds == 1:
        notes.append("One seed: how far the numbers spread is not known; --seeds 3 shows it.")
    if "pace+context" in of_others:
        notes.append("Beside Pace Pred stands pace+context; its authors never released its second term.")
    return notes


def _warnings(runs: list[Run]) -> list[str]:
    """What the trainings themselves warn of; those of a tiny scale are too short for that to mean anything."""
    return [f"{run.path.name}: {warning}" for run in runs for warning in (run.finished or {}).get("warnings", [])]


def _command(table: str, data: str | Path | None, scale: str, seeds: int, folder: Path) -> str:
    words = ["cacl", "reproduce", table, "--scale", scale, "--seeds", str(seeds), "--out", str(folder)]
    return shlex.join([*words, *(["--data", str(data)] if data is not None else [])])
