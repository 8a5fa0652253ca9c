"""The verb that says what was learned: analyse."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.table import Table

from cacl.cli.app import LISTS, Moved, Split, app, disk_or_store, there
from cacl.data.remote.place import place
from cacl.errors import UserError, did_you_mean
from cacl.run_folder import RunFolder


@app.command()
def analyse(
    run: Annotated[Path, typer.Argument(help="A run.", callback=there)],
    videos: Annotated[
        Path | None,
        typer.Argument(
            help="Videos, best with a train and a test part (default: the run's own).",
            metavar="VIDEOS",
            parser=place,
            callback=disk_or_store,
        ),
    ] = None,
    lists: Annotated[Path | None, typer.Option(help=f"{LISTS}, for VIDEOS.", callback=there)] = None,
    split: Split = 1,
    moved: Moved = None,
    only: Annotated[
        str | None, typer.Option(help="Parts: similarity, attention, tasks, features, probes (default: all).")
    ] = None,
    projection: Annotated[str, typer.Option(help="pca, tsne or umap.")] = "pca",
    seed: Annotated[int, typer.Option(help="Of clips, shuffles and augmentations.", min=0)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Say what a run has learned: similarity of pairs, attention, its own tasks, features, and whether it knows time.

    Examples: cacl analyse runs/ucf

    cacl analyse runs/ucf --only attention,probes
    """
    RunFolder.open(run)  # before the seconds that PyTorch takes
    from cacl.evaluation.projection import ProjectionName
    from cacl.experiments.analyse import analyse as run_analysis
    from cacl.experiments.analysis_parts import PARTS
    from cacl.experiments.evaluate import evaluation_folder

    names = ("pca", "tsne", "umap")
    if projection not in names:
        raise UserError(f"--projection is {projection}; it can be pca, tsne or umap.{did_you_mean(projection, names)}")
    parts = tuple(PARTS) if only is None else tuple(word.strip() for word in only.split(","))
    results = run_analysis(
        run,
        videos,
        lists=lists,
        split=split,
        parts=parts,
        projection=cast("ProjectionName", projection),
        seed=seed,
        moved=moved,
    )
    if as_json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
        return
    show_analysis(results)
    print(f"Pictures and numbers: {evaluation_folder(run, videos, split=split) / 'analysis'}")


def show_analysis(results: dict[str, Any]) -> None:
    """The tables of an analysis on stdout."""
    from cacl.evaluation.results import tasks_of

    console = Console(width=None if sys.stdout.isatty() else 110)
    if "similarity" in results:
        from cacl.methods.pairs import PAIR_NAMES as NAMES

        found = results["similarity"]
        table = Table(f"cosine, {found['clips']} clips", "mean", "± std", "unrelated clips", "± std")
        for pair, row in found["pairs"].items():
            numbers = [row.get(key) for key in ("mean", "deviation", "unrelated mean", "unrelated deviation")]
            table.add_row(NAMES[pair], *("" if n is None else f"{n:.4f}" for n in numbers))
        console.print(table)
    if "attention" in results:
        found = results["attention"]
        print(
            f"First-layer attention of T, {found['clips']} clips: {found['distance']:.2f} positions away "
            f"(uniform {found['distance, uniform']:.2f}); first and last position {found['ends']:.2f} times the mean."
        )
    for found in tasks_of(results).values():
        line = f"{found['title']}: {found['accuracy']:.1f} % right (chance {found['chance']:.1f} %)"
        if "mean error" in found:
            same = f"always the same answer: {found['error of one answer']:.2f}"
            line += f", mean error {found['mean error']:.2f} ({same})"
        print(f"{line}.")
    probes = {name: task for name, task in results.get("probes", {}).items() if name != "skipped"}
    if probes:
        rows = next(iter(probes.values()))["rows"]
        table = Table("linear probe, % right", "chance", *rows)
        for name, task in probes.items():
            cells = [f"{row['accuracy']:.1f} ± {row['standard error'] or 0:.1f}" for row in task["rows"].values()]
            table.add_row(f"{name} ({len(task['classes'])})", f"{task['chance']:.1f}", *cells)
        console.print(table)
