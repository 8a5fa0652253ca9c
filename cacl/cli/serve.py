"""The verb for the page on an index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cacl.cli.app import app
from cacl.cli.index import Approximate, IndexPlace, NewRoot


@app.command()
def serve(
    index: IndexPlace,
    host: Annotated[
        str, typer.Option(help="The address to answer at; with a token unless this machine's own.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65535)] = 8420,
    videos: NewRoot = None,
    approximate: Approximate = False,
    labels: Annotated[
        Path | None, typer.Option(help="The table of labels (default: labels.csv beside the index).")
    ] = None,
) -> None:
    """Open the page on an index: search by a part of a playing video, duplicates, labels. Ctrl-C stops it.

    Example: cacl serve mine.index
    """
    from cacl.serving.serve import serve as run

    def ready(address: str) -> None:
        print(f"Open {address} in a browser. Ctrl-C stops it.", flush=True)

    run(index, host=host, port=port, videos=videos, labels=labels, approximate=approximate, ready=ready)
