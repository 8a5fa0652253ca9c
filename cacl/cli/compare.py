"""The verb that sets methods beside each other: compare."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cacl.cli.app import Lists, Sets, Split, Videos, app


@app.command()
def compare(
    videos: Videos,
    methods: Annotated[str, typer.Option(help="Methods as of pretrain, with commas between: cacl,v-moco,vcop.")],
    budget: Annotated[
        str, typer.Option(help="Of each training: passes=N (clips through the encoder), seconds=N, steps=N, epochs=N.")
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
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Train methods under equal conditions; which is better, how sure that is, and what it cost.

    Given again, it goes on where it was; finished trainings are never done again.

    Example: cacl compare ucf101/ --lists ucf101/splits --methods cacl,v-moco,vcop --budget passes=100000
    """
    from cacl.experiments.compare import compare as experiments
    from cacl.experiments.compare.plan import read_budget
    from cacl.training.stop import Stopped

    try:
        results = experiments.compare(
            videos,
            methods=[word.strip() for word in methods.split(",")],
            budget=read_budget(budget),
            networks=[word.strip() for word in networks.split(",")] if networks else [],
            seeds=seeds,
            out=out,
            preset=preset,
            lists=lists,
            split=split,
            assignments=settings or [],
            jobs=jobs,
            shard=shard,
        )
    except (Stopped, KeyboardInterrupt) as stopped:
        print("Stopped; what is done is kept. Go on: give the same command again.", file=sys.stderr)
        raise typer.Exit(stopped.code if isinstance(stopped, Stopped) else 130) from None
    print(json.dumps(results, indent=2, ensure_ascii=False))
