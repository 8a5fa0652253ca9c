"""The verbs that say how good it is: evaluate, demo."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cacl.cli.app import LISTS, Moved, Split, app, disk_or_store, there
from cacl.data.remote.place import place
from cacl.distributed import launch as several
from cacl.errors import UserError, quoted
from cacl.run_folder import RunFolder


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="A finished run, or an encoder folder.", callback=there)],
    videos: Annotated[
        Path | None,
        typer.Argument(
            help="Labelled videos with a train and a test part, by default the run's own.",
            metavar="VIDEOS",
            parser=place,
            callback=disk_or_store,
        ),
    ] = None,
    protocol: Annotated[str, typer.Option(help="retrieval; or self, without labels.")] = "retrieval",
    lists: Annotated[Path | None, typer.Option(help=f"{LISTS}, for VIDEOS.", callback=there)] = None,
    split: Split = 1,
    moved: Moved = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option(help="Another run, or a frozen image encoder, for the same table (repeatable).", callback=there),
    ] = None,
    processes: Annotated[int | None, typer.Option(help="Share the videos among so many processes.")] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Measure again what needs no training and is known from an earlier run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Evaluate a run as the paper does, beside chance, two baselines and the untrained network.

    Example: cacl evaluate runs/ucf --protocol retrieval
    """
    if protocol not in ("retrieval", "self"):
        raise UserError(f"--protocol is {protocol}; it can be retrieval or self.")
    if (count := several.check_count(processes)) > 1:
        raise typer.Exit(several.run_processes(count))
    if (run / "config.json").is_file():
        if moved is not None:
            raise UserError(f"--videos is for a run's own videos, and {run} is an encoder; leave it out.")
        _evaluate_encoder(run, videos, lists, split, beside or [], as_json=as_json)
        return
    RunFolder.open(run)  # before the seconds that PyTorch takes
    if protocol == "self":
        if lists is not None or split != 1:
            raise UserError("--protocol self needs no labels: leave out --lists and --split.")
        _evaluate_self(run, videos, beside or [], moved, as_json=as_json)
        return
    from cacl.experiments.evaluate import evaluate as run_evaluation
    from cacl.experiments.evaluate import evaluation_folder

    with several.one_of_them(go_on="give the same command again"):
        results = run_evaluation(
            run, videos, protocol="retrieval", lists=lists, split=split, beside=beside or [], moved=moved,
            keep=not no_cache,
        )  # fmt: skip
    if not several.is_first():
        return
    if as_json:
        print(json.dumps(results, indent=2))
        return
    show_results(results)
    print(f"Report: {evaluation_folder(run, videos, split=split) / 'report.html'}")


def _evaluate_self(run: Path, videos: Path | None, beside: list[Path], moved: Path | None, *, as_json: bool) -> None:
    """``--protocol self``."""
    from cacl.experiments.evaluate_self import evaluate_self

    results = evaluate_self(run, videos, beside=beside, moved=moved)
    if not several.is_first():
        return
    if as_json:
        print(json.dumps(results, indent=2))
        return
    rows = results["self"]
    table = Table("without labels", *next(iter(rows.values())))
    for name, row in rows.items():
        table.add_row(name, *(f"{value:.1f}" for value in row.values()))
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    print(f"{results['videos']} videos. {results['note']}")


def _evaluate_encoder(
    encoder: Path, videos: Path | None, lists: Path | None, split: int, beside: list[Path], *, as_json: bool
) -> None:
    """An encoder folder by itself: a table, no report."""
    if beside:
        raise UserError(f"--beside is for runs, and {encoder} is an encoder; leave it out.")
    from cacl.experiments.evaluate_encoder import evaluate_encoder

    results = evaluate_encoder(encoder, videos, lists=lists, split=split)
    if not several.is_first():
        return
    if as_json:
        print(json.dumps(results, indent=2))
        return
    show_results(results)
    print(f"Processor time a video: {results['milliseconds a video']:.0f} ms, decoding not counted.")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where everything goes; given again, it goes on.")] = Path("runs/demo"),
    seed: Annotated[int, typer.Option(help="Makes the videos, too.")] = 0,
    seeds: Annotated[int, typer.Option(help="So many demos, seed after seed, with mean and standard deviation.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="Some steps on 30 small videos: does it run here? The numbers say nothing.")
    ] = False,
) -> None:
    """Generate videos, learn from them, see that it worked: everything in some minutes, nothing to download.

    Example: cacl demo --out runs/demo
    """
    from cacl.experiments.demo import INDEX
    from cacl.experiments.demo import demo as run_demo
    from cacl.training.stop import Stopped

    try:
        results = run_demo(out, first_seed=seed, seeds=seeds, quick=quick)
    except Stopped as stopped:
        again = shlex.join(["cacl", *sys.argv[1:]])
        print(f"Stopped, everything is saved. The same command goes on: {again}", file=sys.stderr)
        raise typer.Exit(stopped.code) from None
    show_results(results)
    print("R@k: for how many test videos in 100 one of the k most alike training videos is of the same class.")
    if quick:
        print("Everything runs here. After five steps the numbers say nothing: cacl demo without --quick learns.")
    print(f"Report: {out / 'report.html'}")
    index = (out if seeds == 1 else out / f"seed-{seed}") / INDEX
    query = quoted(f"index:{_some_video(index)}@0-1")
    print(f"What is like the first second of a video: cacl search {quoted(index)} {query}")
    print(f"All of it on a page: cacl serve {quoted(index)}")


def _some_video(index: Path) -> str:
    from cacl.indexing.reader import Index

    with Index(index) as opened:
        return opened.videos[0].path


def show_results(results: dict[str, Any]) -> None:
    """The tables of an evaluation on stdout."""
    from cacl.evaluation.results import task_line, tasks_of

    console = Console(width=None if sys.stdout.isatty() else 110)
    spread = results.get("standard deviation", {})
    recalls = results["retrieval"]
    table = Table("retrieval, %", *next(iter(recalls.values())))
    for name, row in recalls.items():
        deviation = spread.get("retrieval", {}).get(name, {})
        table.add_row(
            name, *(f"{v:.1f}" + (f" ± {deviation[k]:.1f}" if k in deviation else "") for k, v in row.items())
        )
    console.print(table)
    for task in tasks_of(results).values():
        print(task_line(task))
    if "verdict" in results:
        print(results["verdict"]["sentence"])
    for note in results.get("notes", []):
        print(f"Note: {note}")
