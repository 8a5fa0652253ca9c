"""The verb that says what work on an archive would take: plan."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cacl.cli.app import Lists, PictureRate, Sets, Split, app, there
from cacl.errors import printable


@app.command()
def plan(
    videos: Annotated[
        Path, typer.Argument(help="A folder of videos (any tree), a list file or videos.csv.", callback=there)
    ],
    preset: Annotated[str, typer.Option(help="Of the training: small, paper, released, published.")] = "small",
    method: Annotated[str | None, typer.Option(help="By default the preset's.")] = None,
    machines: Annotated[int, typer.Option(help="So many machines like this one, on one disk.", min=1)] = 1,
    gpus: Annotated[int | None, typer.Option(help="Of each machine (default: one device).", min=1)] = None,
    lists: Lists = None,
    split: Split = 1,
    rate: PictureRate = 0.0,
    sets: Sets = None,
    folder: Annotated[Path, typer.Option(help="On the disk that stores and indexes would lie on.")] = Path("."),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure about a minute here, and say what check, prepare, pretrain, index and search would take, and why.

    Example: cacl plan videos/ --machines 8 --gpus 4
    """
    from cacl.training.resolve import resolve_settings

    there(folder)
    resolved = resolve_settings(preset=preset, method=method, assignments=tuple(sets or ()))
    from cacl.experiments.plan.plan import make_plan
    from cacl.experiments.plan.words import as_text

    made = make_plan(
        videos,
        resolved,
        folder=folder,
        lists=lists,
        split=split,
        rate=rate,
        machines=machines,
        gpus=gpus,
        say=lambda text: print(printable(text), file=sys.stderr, flush=True),
    )
    print(json.dumps(asdict(made), indent=2) if as_json else as_text(made))
