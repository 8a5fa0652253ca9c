"""The verb that shows runs: report."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from cacl.cli.app import app, holds_something, say_replaced, there


@app.command()
def report(
    runs: Annotated[
        list[Path], typer.Argument(help="One run, or several to compare.", metavar="RUN...", callback=there)
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The HTML file, by default RUN/report.html; of several runs comparison.html."),
    ] = None,
) -> None:
    """Show a run on one page, or several side by side: settings, curves, results, pictures. One file, no network.

    Examples: cacl report runs/gulls

    cacl report runs/gulls runs/gulls-v-moco runs/gulls-finetuned --out gulls.html
    """
    from cacl.experiments.report import report as write_report

    words = ["cacl", "report", *map(str, runs), *(["--out", str(out)] if out is not None else [])]
    target = out or Path("comparison.html")  # a run's own page is written again and again
    there_before = (out is not None or len(runs) > 1) and holds_something(target)
    written = write_report(runs, out=out, command=shlex.join(words))
    say_replaced(written, there_before)
    print(written)
