"""The verb that makes the paper's tables: reproduce."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cacl.cli.app import app

if TYPE_CHECKING:
    from cacl.experiments.reproduce.paper_tables import PaperTable
    from cacl.experiments.reproduce.parts import Study


@app.command()
def reproduce(
    table: Annotated[str, typer.Argument(help="table1, table2, table3, table4, table5 or fig3.")],
    data: Annotated[
        Path | None,
        typer.Option(help="For --scale paper: the folder that holds ucf101, hmdb51 and kinetics400, with their lists."),
    ] = None,
    scale: Annotated[
        str, typer.Option(help="tiny (generated videos, minutes) or paper (the paper's recipe).")
    ] = "tiny",
    seeds: Annotated[int, typer.Option(help="So many trainings of each row; mean and standard deviation.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Where everything goes, by default runs/reproduce-SCALE; tables share it.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Begin --scale paper without asking.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Train what is missing, evaluate, and print ours beside the paper's row. Given again, it goes on where it was.

    Examples: cacl reproduce table1

    cacl reproduce table4 --scale paper --data datasets/ --seeds 3
    """
    from cacl.experiments.reproduce import reproduce as experiments
    from cacl.training.stop import Stopped

    paper, study = experiments.prepared(table, data=data, scale=scale, seeds=seeds, out=out)
    if scale == "paper" and not _may_begin(paper, study, seeds, yes=yes):
        return
    try:
        results = experiments.reproduce(table, data=data, scale=scale, seeds=seeds, out=out)
    except (Stopped, KeyboardInterrupt) as stopped:
        print("Stopped; what is done is kept. Go on: give the same command again.", file=sys.stderr)
        raise typer.Exit(stopped.code if isinstance(stopped, Stopped) else 130) from None
    if as_json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
        return
    show_table(results)
    print(f"Page: {study.folder.path / table}.html  Numbers: {study.folder.path / table}.csv")


def _may_begin(paper: PaperTable, study: Study, seeds: int, *, yes: bool) -> bool:
    """Say what it will cost, and ask; without a terminal nobody can answer, and nothing begins."""
    from cacl.experiments.reproduce.cost import estimate

    cost = estimate(paper, study, seeds, say=lambda text: print(text, file=sys.stderr, flush=True))
    if not cost.items:
        return True  # all is there; only the table is written anew
    shown = Table("what", "times", "steps each", "seconds a step", "hours")
    for item in cost.items:
        steps, hours = (text.replace(",", " ") for text in (f"{item.steps:,}", f"{item.hours:,.1f}"))
        shown.add_row(item.what, str(item.times), steps, f"{item.seconds:.3g}", hours)
    Console(width=None if sys.stdout.isatty() else 110).print(shown)
    print(cost.summary())
    if yes:
        return True
    if not sys.stdin.isatty():
        print("Nothing was begun; add --yes to begin.")
        return False
    return typer.confirm("Begin?")


def show_table(results: Mapping[str, Any]) -> None:
    """Ours beside the paper's, a table for each data set, on stdout."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    for on in results["sets"]:
        table = Table(f"{results['title'].split(':')[0]}, {on}", "", *results["columns"])
        for row in [*results["rows"], *results["references"]]:
            name = ", ".join([row["name"], *(value for value in row["facts"].values() if value)])
            for whose in ("paper", "ours"):
                numbers = row[whose].get(on, {})
                if not numbers:
                    continue
                spread = row["sd"].get(on, {}) if whose == "ours" else {}
                cells = [_number(numbers.get(k), spread.get(k), results["digits"]) for k in results["columns"]]
                table.add_row(name, whose, *cells)
                name = f"  ours on {row['ours_on']}" if row.get("elsewhere") else ""
        console.print(table)
    if results["words"]:
        print(results["words"])
    for note in results["notes"]:
        print(f"Note: {note}")


def _number(value: float | None, spread: float | None, digits: int) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")
