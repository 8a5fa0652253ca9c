"""``cacl index --to``: what a vector server holds of an index becomes what the index is.

A video is pushed whole or not, with a digest of what it is; so what a stopped push left is gone on from, and the server
can be made anew from the index at any time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cacl.errors import UserError, counted, printable
from cacl.indexing.layout import POINTER
from cacl.indexing.request import Request
from cacl.servers.connect import connect
from cacl.servers.nearest import ServedNearest
from cacl.servers.server import Held, Pushed, VectorServer

if TYPE_CHECKING:
    from cacl.indexing.reader import Index

_BATCH = 8192  # vectors of one transaction: what a kill can cost
_MANY = 0.1  # share of the vectors that is new, from which on the structure for approximate searches is made anew
_ASKED = 200  # searches that recall is measured with
_K = 10
Say = Callable[[str], None]


def push(
    index: Index,
    address: str,
    *,
    approximate: bool = False,
    say: Say = lambda text: None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> None:
    """Bring a vector server to the state of an index; only what it lacks is sent.

    Args:
        index: opened from its folder.
        address: of the server, ``postgresql://…``.
        approximate: make what approximate searches need; where it is there already, it is kept up to date anyway.
        say: told what was done, and how many of the true nearest an approximate search finds.
        progress: called with what is done, how much of it and of how much; may raise to end it.

    Raises:
        UserError: the server cannot be reached, refuses, holds another index, or goes away; what was pushed stays.
    """
    if index.about["whiten"]:
        raise UserError(
            f"{index.path} compares vectors with the archive's spread taken out, which a server cannot: give "
            "cacl index … --no-whiten first."
        )
    about = index.about
    request = Request(about["step"], about["precision"], about["weights"], about["encoder"]).digest
    held = Held(str(index.path.absolute()), request, int(about["features"]), str(about["fingerprint"]))
    with connect(address) as server:
        before = server.held()
        _check_same(server.shown, before, held)
        has = {} if before is None else server.digests()
        wanted = list(_videos(index))
        missing = [video for video in wanted if has.get(video.key) != video.digest]
        gone = has.keys() - {video.key for video in wanted}
        new = sum(len(video.vectors) for video in missing)
        changed = bool(missing or gone or before is None or before.state != held.state)
        state = "" if changed else held.state
        server.begin(Held(held.folder, request, held.features, state), many=new > _MANY * len(index))
        began = time.monotonic()
        _send(server, missing, new, progress)
        if gone:
            server.delete(gone)
        took = time.monotonic() - began
        fast = server.finish(held.state, index.space.mean, approximate=approximate)
        rate = f" ({new / took:.0f} a second)" if new else ""
        rest = f", {counted(len(gone), 'video')} removed" if gone else ""
        stretches = counted(new, "stretch").replace("stretchs", "stretches")
        say(f"{server.shown}: {stretches} pushed{rate}, {len(index) - new} there already{rest}.")
        if fast:
            say(_recall(index, server, held.state))


def _check_same(shown: str, before: Held | None, held: Held) -> None:
    """Raise UserError where another index lies there."""
    if before is None:
        return
    if before.features != held.features:
        raise UserError(
            f"{shown} holds vectors of {before.features} numbers (of {before.folder}), these have {held.features}: "
            "choose another database, or another schema (?options=-csearch_path%3DNAME)."
        )
    moved = before.folder != held.folder and not (Path(before.folder) / POINTER).exists()
    if before.request != held.request or (before.folder != held.folder and not moved):
        raise UserError(
            f"{shown} holds another index ({before.folder}): choose another database, or another schema "
            "(?options=-csearch_path%3DNAME)."
        )


def _videos(index: Index) -> Iterator[Pushed]:
    spans = index.spans
    for number, (video, facts) in enumerate(zip(index.videos, index.catalog.videos, strict=True)):
        rows = spans.rows(number)
        labels = tuple(map(printable, facts.labels))
        yield Pushed(
            video.key, printable(video.path), labels, spans.frames[rows], spans.seconds[rows], index.vectors[rows]
        )


def _send(
    server: VectorServer, videos: Sequence[Pushed], total: int, progress: Callable[[str, int, int], None]
) -> None:
    batch, size, done = list[Pushed](), 0, 0
    for number, video in enumerate(videos, 1):
        batch.append(video)
        size += len(video.vectors)
        if size >= _BATCH or number == len(videos):
            server.push(batch)
            done += size
            progress("stretches pushed", done, total)
            batch, size = [], 0


def _recall(index: Index, server: VectorServer, state: str) -> str:
    """How many of the true nearest an approximate search finds: some stretches of the index are asked with."""
    keys = [video.key for video in index.videos]
    bounds = np.array([video.first_row for video in index.videos] + [len(index)])
    drawn = np.random.default_rng([_ASKED, len(index)]).permutation(len(index))[:_ASKED]
    found = []
    for approximate in (False, True):
        nearest = ServedNearest(server, keys, bounds, index.space, state=state, approximate=approximate)
        found.append([_others(nearest, index, row) for row in drawn.tolist()])
    shares = [len(true & near) / max(len(true), 1) for true, near in zip(*found, strict=True)]
    return (
        f"Approximate searches: recall at {_K} is {np.mean(shares):.3f} on average, {min(shares):.2f} at least "
        f"({len(shares)} stretches of the index asked with)."
    )


def _others(nearest: ServedNearest, index: Index, row: int) -> set[int]:
    """The nearest of a stretch, itself left out."""
    direction = index.space.direction(index.vectors[row])
    rows = nearest(direction[None], _K + 1, np.ones(len(index), np.bool_))[0][0].tolist()
    return set([other for other in rows if other != row][:_K])
