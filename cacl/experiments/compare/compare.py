"""``cacl compare``: make the cells that are missing, then the table, the pairs and the page of all that are there.

Everything is in one folder: ``plan.json``, ``queries.json`` (the test videos), ``lengths.json``, ``store/``,
``frames/``, ``references/``, ``cells/METHOD-NETWORK-seedN/`` (``run/`` and ``results.json``), and what is made of them:
``comparison.json``, ``.csv``, ``.tex``, ``neighbours.json`` and ``report.html``. Given again, killed or not, the same
command goes on.
"""

from __future__ import annotations

import json
import multiprocessing
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cacl.data.videos.dataset import videos_at
from cacl.errors import UserError, counted
from cacl.experiments.compare.cells import cell_results, untrained_reference, video_references
from cacl.experiments.compare.finetuned import finetuned
from cacl.experiments.compare.pictures import neighbour_pictures
from cacl.experiments.compare.plan import Budget, Cell, Plan, check_plan_words, read_budget, read_shard, shard_cells
from cacl.experiments.compare.shared import alone, lengths, open_shared, queries
from cacl.experiments.compare.summary import summary
from cacl.experiments.plan_folder import check_plan, write_plan
from cacl.files import read_object
from cacl.lock import FolderLock, InUse
from cacl.machine.load import free_processors
from cacl.presets import PRESETS
from cacl.reports.arena.page import write_comparison
from cacl.run_folder import RunFolder
from cacl.training.stop import Stopped, StopRequest

Item = tuple[str, Callable[[], Mapping[str, Any]]]  # folder of its lock, and what makes it


def compare(
    videos: str | Path,
    *,
    methods: Sequence[str],
    budget: str,
    networks: Sequence[str] = (),
    seeds: int = 3,
    out: str | Path = "runs/compare",
    preset: str = "small",
    lists: str | Path | None = None,
    split: int = 1,
    assignments: Sequence[str] = (),
    jobs: int = 1,
    shard: str = "1/1",
    with_frozen: str | Path | None = None,
    finetune: bool = False,
) -> dict[str, Any]:
    """Train and measure every method under equal conditions; what is finished in ``out`` is taken as it is.

    Args:
        videos: labelled, with a training and a test part; trained on without their labels.
        methods: as of ``pretrain``.
        budget: of each cell: ``passes=N`` of clips through the encoder, ``seconds=N``, ``steps=N`` or ``epochs=N``.
        networks: of all methods, by default the preset's.
        seeds: so many trainings of each method and network, with the seeds 0, 1, …; seed s of all of them begins with
            the same weights, and sees the same videos in the same order.
        out: where everything goes; more methods, networks or seeds may join it later.
        preset: everything but the method, of all cells.
        lists: folder of the data set's split lists.
        split: which split of them.
        assignments: settings of all cells, ``optim.lr=1e-3``.
        jobs: cells at the same time, each in a process of its own.
        shard: ``2/8``: make each eighth cell only, from the second on.
        with_frozen: a frozen image encoder, for the methods that learn beside one.
        finetune: fine-tune every network with all labels, too, as ``cacl finetune`` does; may be asked for later.

    Returns:
        What ``comparison.json`` holds.

    Raises:
        UserError: an unknown method, videos without labels, a budget too small, an ``out`` of another plan.
        Stopped: SIGTERM or Ctrl-C; the same call goes on.
    """
    plan = prepared(
        videos, methods=methods, budget=read_budget(budget), networks=networks, seeds=seeds, out=out, preset=preset,
        lists=lists, split=split, assignments=assignments, jobs=jobs, with_frozen=with_frozen, finetune=finetune,
    )  # fmt: skip
    share = read_shard(shard)
    if not _complete(plan):
        _begin(plan)
        if jobs == 1:
            work(plan, share)
        else:
            _side_by_side(plan, share, jobs)
    results = summary(plan)
    run, pictures = RunFolder(plan.out), neighbour_pictures(plan)
    with alone(plan.out):
        run.write("comparison.json", json.dumps(results, ensure_ascii=False) + "\n")
        write_comparison(plan.out, results, command=_command(plan), pictures=pictures)
    return results


def _command(plan: Plan) -> str:
    words = ["cacl", "compare", str(plan.videos), *(["--lists", str(plan.lists)] if plan.lists is not None else [])]
    words += [] if plan.split == 1 else ["--split", str(plan.split)]
    words += ["--methods", ",".join(plan.methods), "--networks", ",".join(plan.networks), "--seeds", str(plan.seeds)]
    words += ["--budget", str(plan.budget), "--preset", plan.preset, "--out", str(plan.out)]
    words += [] if plan.with_frozen is None else ["--with-frozen", str(plan.with_frozen)]
    words += ["--finetune"] if plan.finetune else []
    return shlex.join([*words, *(word for text in plan.assignments for word in ("--set", text))])


def prepared(
    videos: str | Path,
    *,
    methods: Sequence[str],
    budget: Budget,
    networks: Sequence[str],
    seeds: int,
    out: str | Path,
    preset: str,
    lists: str | Path | None,
    split: int,
    assignments: Sequence[str],
    jobs: int,
    with_frozen: str | Path | None = None,
    finetune: bool = False,
) -> Plan:
    """The plan, checked as far as words and folders go; nothing is written. Raises UserError."""
    if preset not in PRESETS:
        raise UserError(f"{preset} is not a preset; there are {', '.join(PRESETS)}.")
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}; it must be 1 or more.")
    plan = Plan(
        videos_at(videos),
        Path(out),
        tuple(methods),
        tuple(networks) or (PRESETS[preset]["model"]["network"],),
        seeds,
        budget,
        preset=preset,
        lists=None if lists is None else Path(lists),
        split=split,
        assignments=tuple(assignments),
        settings=_machine(Path(out), assignments, jobs),
        with_frozen=None if with_frozen is None else Path(with_frozen),
        finetune=finetune,
    )
    check_plan_words(plan)
    check_plan(plan.out, plan.content())
    return plan


def _machine(out: Path, assignments: Sequence[str], jobs: int) -> dict[str, Any]:
    """Threads of every cell: as the folder was begun, so that its numbers do not depend on who goes on."""
    before = read_object(out / "plan.json").get("settings")
    if isinstance(before, dict):
        return before
    given = {text.partition("=")[0] for text in assignments}
    processors = free_processors()
    chosen = {"run.threads": max(1, processors // jobs), "data.workers": max(1, min(4, processors // jobs))}
    return {key: value for key, value in chosen.items() if key not in given}


def _complete(plan: Plan) -> bool:
    """Whether there is nothing left to make: then no video is opened."""
    files = [f"cells/{cell.name}/results.json" for cell in plan.cells]
    files += [f"cells/{cell.name}/finetuned.json" for cell in plan.cells if plan.finetune]
    files += [f"references/untrained-{cell.network}-seed{cell.seed}.json" for cell in plan.cells]
    needed = ["plan.json", "queries.json", "references/videos.json", *files]
    return all((plan.out / name).exists() for name in needed)


def _begin(plan: Plan) -> None:
    """Make the folder and what all cells share; what is wrong with the request is found here."""
    try:
        plan.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{plan.out}: cannot be made ({error.strerror}); choose another --out.") from error
    new = not (plan.out / "plan.json").exists()
    run = RunFolder(plan.out)
    with alone(plan.out):
        write_plan(run, plan.content())
    if not new:
        return
    try:
        found = open_shared(plan, decoded=False, say=run.log)
        queries(run, found)
        lengths(plan, run, found)
    except UserError:  # the same command with better words finds no other plan
        shutil.rmtree(plan.out / "sharing", ignore_errors=True)
        for name in ("queries.json", "plan.json"):
            (plan.out / name).unlink(missing_ok=True)
        raise


def work(plan: Plan, shard: tuple[int, int] = (1, 1)) -> None:
    """Make what is missing, one after the other, leaving out what others are making; what fails is noted.

    Raises:
        Stopped: SIGTERM or Ctrl-C.
    """
    run = RunFolder(plan.out)
    for name, make in _items(plan, run, shard):
        folder = plan.out / name
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FolderLock(folder):
                try:
                    make()
                    (folder / "failed.json").unlink(missing_ok=True)
                except InUse:
                    raise
                except UserError as error:
                    run.log(f"{folder} failed: {error}")
                    run.write(f"{name}/failed.json", json.dumps({"why": str(error)}, ensure_ascii=False) + "\n")
        except InUse:
            continue


def _items(plan: Plan, run: RunFolder, shard: tuple[int, int]) -> Iterator[Item]:
    """Seed after seed: the cells, and the untrained networks beside them."""
    data = open_shared(plan, say=run.log)
    queries(run, data)
    length = lengths(plan, run, data)
    if shard[0] == 1:
        yield "references/videos", partial(video_references, plan, run, data)
    mine = shard_cells(plan.cells, shard)
    for seed in range(plan.seeds):
        for cell in (cell for cell in mine if cell.seed == seed):
            yield f"cells/{cell.name}", partial(cell_results, plan, run, cell, length[cell.row])
            if plan.finetune:
                yield f"cells/{cell.name}", partial(finetuned, plan, run, cell)
        for network in plan.networks:
            own = Cell(plan.methods[0], network, seed)
            if own in mine:
                name = f"references/untrained-{network}-seed{seed}"
                yield name, partial(untrained_reference, plan, run, own, data)


def _side_by_side(plan: Plan, shard: tuple[int, int], jobs: int) -> None:
    """Several processes that take what is free; a stop that is asked for is handed on to them."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_worker, args=(plan, shard)) for _ in range(jobs)]
    with StopRequest() as stop:
        for process in processes:
            process.start()
        told = False
        while any(process.is_alive() for process in processes):
            for process in processes:
                process.join(0.2)
                if stop.requested and not told:
                    for one in processes:
                        one.terminate()
                    told = True
        stop.raise_if_requested()
    if lost := sum(process.exitcode != 0 for process in processes):
        raise UserError(
            f"{counted(lost, 'process')} of {jobs} ended before the cells were done (was there enough memory?); give "
            "the same command again, it goes on where it was."
        )


def _worker(plan: Plan, shard: tuple[int, int]) -> None:
    try:
        work(plan, shard)
    except Stopped as stopped:
        sys.exit(stopped.code)
