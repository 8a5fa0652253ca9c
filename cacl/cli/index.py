"""The verbs for an archive of videos: index, search, duplicates."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cacl.cli.app import AnyVideos, ClusterAddress, EngineName, PictureRate, app, on_disk, say_used, there
from cacl.cluster.engine import check_engine
from cacl.errors import UserError, counted, did_you_mean, printable, quoted
from cacl.servers.address import is_address, shown
from cacl.servers.connect import connect


def _folder_or_server(place: str) -> str:
    """An index, if it is there; of a server that is asked later."""
    return place if is_address(place) else str(there(Path(place)))


IndexPlace = Annotated[
    str,
    typer.Argument(
        help="A folder made by cacl index, or postgresql://… that it was pushed to.",
        metavar="INDEX",
        callback=_folder_or_server,
    ),
]
Approximate = Annotated[bool, typer.Option("--approximate", help="Of a server: search by HNSW, which may miss some.")]
NewRoot = Annotated[
    Path | None, typer.Option("--videos", help="The folder that the index's videos were moved to.", callback=there)
]


@app.command()
def index(
    videos: AnyVideos,
    out: Annotated[
        Path, typer.Option(help="The index: new, or one to bring up to date.", metavar="PATH", parser=on_disk)
    ],
    model: Annotated[Path | None, typer.Option(help="A run, or an encoder folder (default: the index's own).")] = None,
    step: Annotated[int | None, typer.Option(help="Frames from one window to the next (default: a window).")] = None,
    whiten: Annotated[
        bool | None, typer.Option("--whiten/--no-whiten", help="Take the archive's spread out of comparisons too.")
    ] = None,
    previews: Annotated[bool, typer.Option("--previews/--no-previews", help="Make small moving pictures.")] = True,
    prune: Annotated[bool, typer.Option("--prune", help="Forget videos that are not there.")] = False,
    shard: Annotated[str | None, typer.Option(help="Embed a share of the videos only, such as 3/16.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Join what the shares made; embed nothing.")] = False,
    engine: EngineName = "here",
    address: ClusterAddress = None,
    to: Annotated[str | None, typer.Option(help="A vector server to push it to: postgresql://USER@HOST/DB.")] = None,
    approximate: Annotated[
        bool, typer.Option("--approximate", help="With --to: make HNSW for approximate searches there.")
    ] = False,
    rate: PictureRate = 0.0,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
) -> None:
    """Make an index of videos to search, or bring it up to date: only what is new or changed is decoded.

    Example: cacl index videos/ --model runs/mine --out mine.index
    """
    names = ("auto", "float32", "bfloat16", "float16")
    if precision not in names:
        raise UserError(f"--precision is {precision}; it can be {', '.join(names)}.{did_you_mean(precision, names)}")
    chosen = check_engine(engine, address, shares=shard is not None or merge)
    there(model)
    if to is not None:
        if shard is not None:
            raise UserError("--to pushes a whole index, --shard makes a share of one: give --to with --merge.")
        connect(to).close()  # said now, not after hours
    elif approximate:
        raise UserError("--approximate is for a vector server: name it with --to postgresql://USER@HOST/DATABASE.")
    from cacl.indexing.build import index as run_index
    from cacl.indexing.on_server.push import push
    from cacl.training.progress import VideoProgress

    try:
        with VideoProgress() as progress:
            made = run_index(
                videos,
                model=model,
                out=out,
                step=step,
                rate=rate,
                whiten=whiten,
                previews=previews,
                prune=prune,
                shard=shard,
                merge=merge,
                engine=chosen,
                address=address,
                device=device,
                precision=precision,  # type: ignore[arg-type]
                say=_say,
                progress=progress,
            )
            if made is not None and to is not None:
                push(made, to, approximate=approximate, say=_say, progress=progress)
    except KeyboardInterrupt:
        print("Stopped; what is done is kept. To go on: give the same command again.", file=sys.stderr)
        raise typer.Exit(130) from None
    if made is None:
        encoder = "" if model is None else f" --model {quoted(model)}"
        print(f"Join the shares when all are done: cacl index {quoted(videos)}{encoder} --out {quoted(out)} --merge")
        return
    with made:
        say_used(made.catalog_file)
        stretches = f"{len(made):,} stretches".replace(",", " ")
        place = quoted(out if to is None else shown(to))
        print(f"{out}: {stretches} of {counted(len(made.videos), 'video')}. Search them: cacl search {place} FILE")


@app.command()
def search(
    index: IndexPlace,
    query: Annotated[
        str, typer.Argument(help="A video, a part of one (FILE@12.5-15), or of one in the index (index:PATH@3-5).")
    ],
    k: Annotated[int, typer.Option("-k", help="How many videos.", min=1)] = 10,
    within: Annotated[str | None, typer.Option(help="Only videos in this folder, or with this label.")] = None,
    like: Annotated[list[str] | None, typer.Option(help="Another example, as QUERY (repeatable).")] = None,
    unlike: Annotated[list[str] | None, typer.Option(help="An example against, as QUERY (repeatable).")] = None,
    videos: NewRoot = None,
    approximate: Approximate = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON (docs/search.md has its schema).")] = False,
) -> None:
    """Find where else something happens: videos with stretches like a video or a part of one, best first.

    Example: cacl search mine.index query.mp4@12.5-15
    """
    from cacl.indexing.reader import Index
    from cacl.indexing.words import hits_as_json, hits_as_lines

    with Index(index, videos=videos, few=True, approximate=approximate) as opened:
        hits = opened.search(
            [query, *(like or ())],
            unlike=unlike or (),
            k=k,
            within=within,
            say=_say,
        )
        if as_json:
            print(json.dumps(hits_as_json(opened, hits, [query, *(like or ())], unlike or ()), indent=2))
            return
        for line in hits_as_lines(hits):
            print(printable(line))


@app.command()
def duplicates(
    index: IndexPlace,
    not_same: Annotated[
        tuple[str, str] | None,
        typer.Option("--not-same", help="Remember that two videos (paths) are not the same.", metavar="A B"),
    ] = None,
    pixels: Annotated[bool, typer.Option("--pixels/--no-pixels", help="Look at the pixels of candidates.")] = True,
    videos: NewRoot = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Find the same recording twice: copies, parts and changed copies, aligned in time. Nothing is deleted.

    Example: cacl duplicates mine.index
    """
    from cacl.indexing.reader import Index
    from cacl.indexing.words import duplicates_as_csv, duplicates_as_json, duplicates_as_lines

    if as_json and as_csv:
        raise UserError("--json and --csv are two ways to print the same: give one of them.")
    with Index(index, videos=videos) as opened:
        if not_same is not None:
            for path in not_same:
                opened.rows(path)
            opened.decisions.reject(*not_same)
            print(printable(f"Remembered: {not_same[0]} and {not_same[1]} are not the same."))
            return
        from cacl.training.progress import VideoProgress

        with VideoProgress() as progress:
            found = opened.duplicates(pixels=pixels, say=_say, progress=progress)
        if as_json:
            print(json.dumps(duplicates_as_json(opened, found), indent=2))
        elif as_csv:
            print(duplicates_as_csv(found), end="")
        else:
            for line in duplicates_as_lines(found):
                print(printable(line))
            sure = sum(one.sure == "sure" for one in found)
            print(f"{counted(len(found), 'pair')} of stretches, {sure} of them sure.", file=sys.stderr)


def _say(text: str) -> None:
    print(printable(text), file=sys.stderr)
