"""Join the parts of a store: into one file in its folder, or into one in each share, which stays where it is.

A part is removed once it is in, so that no disk has to hold all twice; what was stopped goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cacl.data.videos.catalog import Catalog, Skipped, Video
from cacl.data.videos.store_parts import PartFacts, PartPlan, result_of, write_json
from cacl.data.videos.stored.fetched import TIMES
from cacl.data.videos.stored.shares import FRAMES, SHARE, Piece, Share, checksum_of_all, checksum_within
from cacl.errors import UserError


def join(catalog: Catalog, plans: Sequence[PartPlan], partial: Path, request: dict[str, object]) -> None:
    """Make a store of all parts, in order, in the folder in which it grows.

    Args:
        catalog: the videos that were to be decoded.
        plans: all parts, made.
        partial: the folder.
        request: for the manifest, which is written last.

    Raises:
        UserError: no video can be decoded, or parts are missing.
    """
    facts = [PartFacts.read(plan.facts) for plan in plans]
    _append(plans, facts, partial / FRAMES)
    _describe(catalog, plans, facts, partial, request)


def join_shares(
    catalog: Catalog, plans: Sequence[PartPlan], partial: Path, request: dict[str, object], *, beside: Path
) -> None:
    """Make a store whose frames stay in the shares: their parts are joined there, and the manifest lists them.

    Args:
        catalog, plans, partial, request: as of ``join``; every part in the folder of a share.
        beside: the folder in which the store will lie: a share in it is listed by its name, others by where they are.

    Raises:
        UserError: as ``join``.
    """
    facts = [PartFacts.read(plan.facts) for plan in plans]
    folders, shares = list(dict.fromkeys(plan.folder for plan in plans)), list[Share]()
    pieces: list[Piece | None] = [None] * len(plans)
    for number, folder in enumerate(folders):
        own = [n for n, plan in enumerate(plans) if plan.folder == folder]
        _append([plans[n] for n in own], [facts[n] for n in own], folder / FRAMES)
        begin = 0
        for n in own:
            size = sum(facts[n].sizes)
            pieces[n] = Piece(number, size, checksum_within(folder / FRAMES, begin, begin + size))
            begin += size
        checksum = checksum_of_all([piece for n in own if (piece := pieces[n]) is not None])
        near = folder.resolve().parent == beside.resolve()
        shares.append(Share(folder.name if near else str(folder.resolve()), begin, checksum))
        write_json(folder / SHARE, {"bytes": begin, "checksum": checksum})
    _describe(catalog, plans, facts, partial, {**request, "shares": shares, "pieces": pieces})


def leave_share(folder: Path) -> None:
    """Once the store is made: remove what a share of it does not need any more."""
    if (folder / SHARE).exists():
        for part in folder.glob("part-*"):
            if part.is_dir():  # of one whose files were decoded alone
                shutil.rmtree(part)
            else:
                part.unlink()
        (folder / "request.json").unlink(missing_ok=True)  # last: it says that the share is not ready


def _append(plans: Sequence[PartPlan], facts: Sequence[PartFacts], path: Path) -> None:
    """Join parts into one file. Each is removed once it is in, so that the disk need not hold all twice."""
    bounds = np.concatenate([np.zeros(1, np.int64), np.cumsum([sum(f.sizes) for f in facts], dtype=np.int64)])
    with path.open("ab") as file:
        inside = max((int(bounds[n + 1]) for n, plan in enumerate(plans) if not plan.data.exists()), default=0)
        if inside > file.tell():
            raise UserError(
                f"{path} lacks parts of the store: another cacl prepare --merge was begun, with or without --shares. "
                "Give that command again."
            )
        file.truncate(inside)
        file.seek(0, os.SEEK_END)
        for n, plan in enumerate(plans):
            if plan.data.exists() and bounds[n] >= file.tell():
                with plan.data.open("rb") as part:
                    shutil.copyfileobj(part, file, 2**22)
                file.flush()
                os.fsync(file.fileno())
                plan.data.unlink()


def _describe(
    catalog: Catalog, plans: Sequence[PartPlan], facts: Sequence[PartFacts], partial: Path, manifest: dict[str, object]
) -> None:
    """Write everything but the frames."""
    results = [
        result_of(video, n, why, note)
        for plan, f in zip(plans, facts, strict=True)
        for video, n, why, note in zip(plan.videos, f.frames, f.problems, f.notes, strict=True)
    ]
    videos = tuple(item for item in results if isinstance(item, Video))
    skipped = tuple(item for item in results if isinstance(item, Skipped))
    if not videos:
        raise UserError(f"{catalog.root}: no video can be decoded ({skipped[0].path}: {skipped[0].reason}).")
    sizes = np.array([0, *(size for f in facts for size in f.sizes)], np.int64)
    write_offsets(partial / "offsets.npy", np.cumsum(sizes))
    Catalog(catalog.root, videos, (*catalog.skipped, *skipped)).write_csv(partial / "videos.csv")
    every = [times for f in facts for times in f.times]
    kept = [times for item, times in zip(results, every, strict=True) if isinstance(item, Video)]
    if uneven := {str(number): times for number, times in enumerate(kept) if times}:
        write_json(partial / TIMES, uneven)
    write_json(partial / "manifest.json", manifest)


def write_offsets(path: Path, ends: NDArray[np.int64]) -> None:
    """As ``np.save`` does, which writes behind Python's back, and of a disk that is just then full tells nobody."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(ends))
        file.write(ends.data)
        file.flush()
        os.fsync(file.fileno())
