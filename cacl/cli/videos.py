"""The verbs that look at videos and train nothing: check, prepare."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cacl.cli.app import (
    AnyVideos,
    Blank,
    ClusterAddress,
    EngineName,
    Lists,
    PictureRate,
    Split,
    app,
    boxes,
    holds_something,
    on_disk,
    say_replaced,
    there,
)
from cacl.cluster.engine import check_engine
from cacl.errors import UserError, counted, did_you_mean, printable, quoted
from cacl.files import check_replaceable
from cacl.run_folder import is_run

if TYPE_CHECKING:
    from cacl.cluster.on_ray import Cluster
    from cacl.data.videos.catalog import Catalog
    from cacl.data.videos.store_shares import Make
    from cacl.training.progress import VideoProgress


@app.command()
def check(
    videos: AnyVideos,
    lists: Lists = None,
    split: Split = 1,
    rate: PictureRate = 0.0,
    deep: Annotated[
        bool, typer.Option("--deep", help="Decode every video to its end; read all of a store's shares.")
    ] = False,
    engine: EngineName = "here",
    address: ClusterAddress = None,
    csv: Annotated[
        Path | None, typer.Option(help="Write the list of all files here.", metavar="PATH", parser=on_disk)
    ] = None,
) -> None:
    """Read every header and say which videos are usable, and why the others are not. Trains nothing.

    Example: cacl check videos/ --deep
    """
    from cacl.data.videos.advice import suggestions, time_spread
    from cacl.data.videos.catalog import Catalog
    from cacl.data.videos.store import FrameStore, is_store
    from cacl.training.progress import VideoProgress
    from cacl.training.resolve import resolve_settings

    check_engine(engine, address)
    there_before = csv is not None and holds_something(csv)
    if csv is not None:
        of_others = is_run(csv.parent) or is_store(csv.parent)  # they live by theirs
        check_replaceable(csv, lambda file: Catalog.is_csv(file) and not of_others, by="cacl check")
    stored = FrameStore(videos) if is_store(videos) else None
    if stored is not None:
        catalog = stored.catalog
    else:
        with _cluster(engine, address) as cluster, VideoProgress() as progress:
            catalog = _scanned(cluster, videos, progress, lists=lists, split=split, deep=deep, rate=rate)
    for skipped in catalog.skipped:
        print(printable(f"skipped  {skipped.path}: {skipped.reason}"))
    for video in catalog.videos:
        if video.note:
            print(printable(f"note     {video.path}: {video.note}"))
    frames = sum(video.frames for video in catalog.videos)
    print(f"{catalog.summary()}; {counted(frames, 'frame')}, {counted(len(catalog.labels), 'label')}.")
    if csv is not None:
        catalog.write_csv(csv)
        say_replaced(csv, there_before)
    small = resolve_settings().settings  # the preset of a training that says nothing else
    if spread := time_spread(catalog, frames=small.data.frames, stride=small.data.stride):
        print(spread)
    resize = None if stored else small.data.resize
    if advice := suggestions(
        catalog,
        batch_size=small.optim.batch_size,
        frames=small.data.frames,
        stride=small.data.stride,
        resize=resize,
        size=small.augment.size,
    ):
        print(advice)
    if deep and stored is not None and stored.shares is not None:
        stored.shares.verify()
        print("Every byte of the shares was read: the checksums are right.")
    if not (deep or stored):
        print("Only headers were read: with --deep every video is decoded to its end.")


@app.command()
def prepare(
    videos: AnyVideos,
    out: Annotated[Path, typer.Option(help="The store to make.", metavar="PATH", parser=on_disk)],
    lists: Lists = None,
    split: Split = 1,
    preset: Annotated[str, typer.Option(help="The frame size of this preset.")] = "small",
    size: Annotated[tuple[int, int] | None, typer.Option(help="Height and width in pixels.")] = None,
    blank: Blank = None,
    rate: PictureRate = 0.0,
    kind: Annotated[str, typer.Option(help="jpeg (quality 90) or raw.")] = "jpeg",
    levels: Annotated[
        str | None, typer.Option(help="Of values of more than 8 bits: auto, full or percentiles (data.levels).")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that decode.", min=0)] = 2,
    shard: Annotated[str | None, typer.Option(help="Decode a share of the videos only, such as 3/16.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Join what the shares made.")] = False,
    engine: EngineName = "here",
    address: ClusterAddress = None,
    shares: Annotated[
        list[Path] | None,
        typer.Option(help="Folders in which shares are made, and stay at --merge.", callback=there),
    ] = None,
) -> None:
    """Decode all frames once into a store that trains fast, and where no video decoder is installed. Resumable.

    Example: cacl prepare videos/ --out videos.store
    """
    from cacl.data.media.stream import MAX_PIXELS, MAX_SIDE
    from cacl.data.videos.pixel_rules import choose_rules
    from cacl.data.videos.store import build_share, build_store, is_store
    from cacl.data.videos.store_shares import shard_of
    from cacl.training.progress import VideoProgress
    from cacl.training.resolve import resolve_settings

    if kind not in ("jpeg", "raw"):
        raise UserError(f"--kind is {kind}; it can be jpeg or raw.{did_you_mean(kind, ['jpeg', 'raw'])}")
    data = resolve_settings(preset=preset, flags={} if levels is None else {"data.levels": levels}).settings.data
    height, width = size or data.resize
    black = boxes(blank)
    if is_store(videos):
        raise UserError(f"{videos} is a store already; name the folder of videos that it was made of.")
    if min(height, width) < 1 or max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        most = f"{MAX_SIDE} pixels, together at most {MAX_PIXELS}"
        raise UserError(f"--size is {height} {width}; height and width are 1 to {most}.")
    if shard is not None and merge:
        raise UserError("--shard makes a share, --merge joins them: give one of them.")
    check_engine(engine, address, shares=shard is not None or merge)
    if shares and not merge and (shard is None or len(shares) > 1):
        raise UserError("--shares names one folder for the share of --shard, or the folders of all shares for --merge.")
    share = None if shard is None else shard_of(shard)
    with _cluster(engine, address) as cluster, VideoProgress() as progress:
        catalog = _scanned(cluster, videos, progress, lists=lists, split=split, rate=rate, blank=black)
        rules = choose_rules(catalog, colours=data.colours, levels=data.levels, say=print)
        asked: dict[str, Any] = {"height": height, "width": width, "kind": kind, "rules": rules, "workers": workers}
        watch = progress.of("videos decoded")
        if share is not None:
            build_share(catalog, out, shard=share, within=shares[0] if shares else None, progress=watch, **asked)
            print(
                f"Share {share.number} of {share.of} is made; when all are, the same command with --merge joins them."
            )
            return
        store = build_store(catalog, out, merge=merge, make=_make(cluster), keep=shares or (), progress=watch, **asked)
    print(f"{store.catalog.summary()}: see {out / 'videos.csv'}.")
    print(f"{out} holds frames of {height}x{width}; train on it: cacl pretrain {quoted(out)}")


def _cluster(engine: str, address: str | None) -> AbstractContextManager[Cluster | None]:
    """A Ray cluster; nothing where all is done here."""
    if engine == "here":
        return nullcontext()
    from cacl.cluster.on_ray import Cluster

    return Cluster(address, lambda text: print(printable(text), file=sys.stderr))


def _scanned(cluster: Cluster | None, videos: Path, progress: VideoProgress, **asked: Any) -> Catalog:
    from cacl.data.videos.scan import scan

    watch = progress.of("files looked at")
    if cluster is None:
        return scan(videos, progress=watch, **asked)
    from cacl.cluster.look import scan_on_ray

    return scan_on_ray(cluster, videos, progress=watch, **asked)


def _make(cluster: Cluster | None) -> Make | None:
    """What makes the parts of a store in place of this process."""
    if cluster is None:
        return None
    from cacl.cluster.prepare import make_on_ray

    return partial(make_on_ray, cluster)
