"""The verb that sets methods beside each other: compare."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cacl.cli.app import Lists, Sets, Split, Videos, app, there


@app.command()
def compare(
    videos: Videos,
    methods: Annotated[str, typer.Option(help="Methods as of pretrain, with commas between: cacl,v-moco,vcop.")],
    budget: Annotated[
        str,
        typer.Option(help="Of each training: passes=N (clips through the encoder), seconds=N, steps=N or epochs=N."),
    ],
    networks: Annotated[str, typer.Option(help="Networks, with commas between; by default the preset's.")] = "",
    seeds: Annotated[int, typer.Option(help="So many trainings of each method and network.")] = 3,
    preset: Annotated[str, typer.Option(help="small, paper or released: everything but the method.")] = "small",
    lists: Lists = None,
    split: Split = 1,
    settings: Sets = None,
    out: Annotated[Path, typer.Option(help="Where everything goes; more methods or seeds may join it.")] = Path(
        "runs/compare"
    ),
    jobs: Annotated[int, typer.Option(help="Trainings at the same time.")] = 1,
    shard: Annotated[str, typer.Option(help="I/N: each N-th training only, from the I-th on, for N machines.")] = "1/1",
    with_frozen: Annotated[
        Path | None, typer.Option(help="A frozen image encoder, for methods that learn beside one.", callback=there)
    ] = None,
    finetune: Annotated[bool, typer.Option("--finetune", help="Fine-tune every network with all labels, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Train methods under equal conditions; which is better, how sure that is, and what it cost.

    Given again, it goes on where it was; finished trainings are never done again.

    Example: cacl compare ucf101/ --lists ucf101/splits --methods cacl,v-moco,vcop --budget passes=100000
    """
    from cacl.experiments.compare import compare as experiments
    from cacl.training.stop import Stopped

    try:
        results = experiments.compare(
            videos,
            methods=[word.strip() for word in methods.split(",")],
            budget=budget,
            networks=[word.strip() for word in networks.split(",")] if networks else [],
            seeds=seeds,
            out=out,
            preset=preset,
            lists=lists,
            split=split,
            assignments=settings or [],
            jobs=jobs,
            shard=shard,
            with_frozen=with_frozen,
            finetune=finetune,
        )
    except (Stopped, KeyboardInterrupt) as stopped:
        print("Stopped; what is done is kept. Go on: give the same command again.", file=sys.stderr)
        raise typer.Exit(stopped.code if isinstance(stopped, Stopped) else 130) from None
    if as_json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    else:
        _show(results)
        print(f"Page: {out / 'report.html'}  Numbers: {out / 'comparison.csv'}")
    for cell, why in results["failed"].items():
        print(f"{cell} failed: {why}", file=sys.stderr)
    if results["failed"]:
        raise typer.Exit(2)


def _show(results: Mapping[str, Any]) -> None:
    from cacl.reports.arena.words import first_line

    for network, one in results["networks"].items():
        if not one["order"]:
            continue
        columns = ["method", "R@1", "95 %", "k-NN", "linear probe", "passes", "processor min"]
        table = Table(*columns, title=f"{network}, {results['budget']}", title_justify="left")
        for name, reference in one["references"].items():
            numbers = [reference["retrieval"]["R@1"], None, reference.get("k-NN"), reference.get("linear probe")]
            table.add_row(name, *map(_number, numbers), style="dim")
        for method in one["order"]:
            row, measures = one["rows"][method], one["rows"][method]["measures"]
            main, seconds = measures["R@1"], row["cost"].get("processor seconds")
            ends = "" if main["low"] is None else f"{max(main['low'], 0):.1f}-{min(main['high'], 100):.1f}"
            others = [_number(measures[name]["mean"]) for name in ("k-NN", "linear probe")]
            minutes = _number(None if seconds is None else seconds / 60)
            table.add_row(method, _number(main["mean"]), ends, *others, str(row["passes"]), minutes)
        Console(width=None if sys.stdout.isatty() else 120).print(table)
        print(first_line(one, results["budget"]))
    if results["missing"]:
        print(f"Not there yet: {'; '.join(results['missing'])}.")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"
