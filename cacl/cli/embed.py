"""The verb that turns a folder of videos into vectors: embed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from cacl.arrow import check_arrow, is_arrow
from cacl.cli.app import AnyVideos, PictureRate, app, holds_something, on_disk, say_replaced, say_used
from cacl.errors import UserError, did_you_mean


@app.command()
def embed(
    videos: AnyVideos,
    model: Annotated[Path, typer.Option(help="A run, or an encoder folder.")],
    out: Annotated[
        Path,
        typer.Option(help="The folder to make; one that was stopped goes on.", metavar="PATH", parser=on_disk),
    ],
    step: Annotated[
        int | None, typer.Option(help="Frames from one window to the next, by default a whole window.")
    ] = None,
    table: Annotated[
        Path | None, typer.Option(help="All of it as one table, too: .parquet or .arrow (cacl[arrow]).")
    ] = None,
    rate: PictureRate = 0.0,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
) -> None:
    """Turn every video into vectors, one for each stretch of it, with start and end in seconds.

    Example: cacl embed videos/ --model runs/mine --out vectors/mine
    """
    names = ("auto", "float32", "bfloat16", "float16")
    if precision not in names:
        raise UserError(f"--precision is {precision}; it can be {', '.join(names)}.{did_you_mean(precision, names)}")
    there_before = table is not None and holds_something(table)
    if table is not None:
        if not is_arrow(table):
            raise UserError(f"{table}: a table of vectors ends in .parquet or .arrow.")
        from cacl.evaluation.embedding import TABLE_BY

        check_arrow(table, by=TABLE_BY)
    from cacl.experiments.embed import embed as run_embed
    from cacl.training.progress import VideoProgress

    try:
        with VideoProgress() as progress:
            made = run_embed(
                videos,
                model=model,
                out=out,
                step=step,
                rate=rate,
                device=device,
                precision=precision,  # type: ignore[arg-type]
                say=lambda text: print(text, file=sys.stderr),
                progress=progress,
            )
    except KeyboardInterrupt:
        print("Stopped; what is done is kept. To go on: give the same command again.", file=sys.stderr)
        raise typer.Exit(130) from None
    if table is not None:
        made.write_table(table)
        say_replaced(table, there_before)
    about = made.about
    say_used(out / "videos.csv")
    files = ", ".join(str(file) for file in (out / "vectors.npy", out / "segments.csv", table) if file is not None)
    print(f"{about['segments']} vectors of {about['features']} numbers: {files}")
