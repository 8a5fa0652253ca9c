"""Decode every video once, into a store from which clips are read several times faster than from the files.

The store is one file of packed frames, their offsets, the catalog, and a manifest that is written last: a folder
without it is no store. It is made in a folder beside it; a run that was stopped continues there.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple
from pathlib import Path

from cacl.data.media.colours import AS_CODED, PixelRules
from cacl.data.media.pictures import on_disk, size_of
from cacl.data.videos.catalog import Catalog, Video
from cacl.data.videos.pixel_rules import rules_to_json
from cacl.data.videos.sources import FORMAT, DecodedVideos, FrameSource, FrameStore, is_store
from cacl.data.videos.store_parts import Kind, PartPlan, write_json
from cacl.data.videos.store_shares import (
    Make,
    Shard,
    check_open,
    make_here,
    own_parts,
    share_folder,
    shares_of,
    with_shares,
)
from cacl.data.videos.stored.join import join, join_shares, leave_share
from cacl.errors import UserError, printable
from cacl.files import FULL, read_object
from cacl.lock import NAME as LOCK
from cacl.lock import FolderLock

__all__ = ["DecodedVideos", "FrameSource", "FrameStore", "build_store", "is_store"]

_PARTS = 2  # how a catalog is cut into parts; unfinished parts of another way do not fit
_PART_VIDEOS = 32
_PART_FRAMES = 8192
_OTHER = {
    "videos": "other videos (or one has been written since)",
    "root": "videos of another folder",
    "pixels": "other colours or levels",
}
_FIRST_FIELDS, _LATER_FIELDS = 10, ((), None)  # of a video in the fingerprint: several labels, region


def build_store(
    catalog: Catalog,
    out: str | Path,
    *,
    height: int,
    width: int,
    kind: Kind = "jpeg",
    quality: int = 90,
    rules: PixelRules = AS_CODED,
    workers: int = 0,
    merge: bool = False,
    make: Make | None = None,
    keep: Sequence[Path] = (),
    progress: Callable[[int, int], None] | None = None,
) -> FrameStore:
    """Make the frame store of a catalog, or continue one that was stopped, or open it where it is complete.

    Parts that ``build_share`` made are taken.

    Args:
        catalog: the videos. One that breaks is cut there, or left out with a reason in the store's own catalog.
        out: the store's folder, new or made by the same call before.
        height: of the frames, pixels.
        width: pixels.
        kind: ``"jpeg"`` (4:2:0, about a tenth of the size) or ``"raw"`` (exact).
        quality: of JPEG, 1 to 100.
        rules: how stored pixels become RGB.
        workers: processes that decode; 0: this one. The store does not depend on it.
        merge: only join what the shares made.
        make: what makes parts in place of ``workers``.
        keep: folders in which the shares lie (see ``build_share``) and stay: the store reads frames from there.
        progress: called with videos done and videos in all.

    Raises:
        UserError: ``out`` holds something else, the disk is full, no video can be decoded, or a share is missing or
            still being worked on.
    """
    out = Path(out)
    request = _request(catalog, height=height, width=width, kind=kind, quality=quality, rules=rules)
    if out.exists() and (finished := _finished(out, request)) is not None:
        return finished
    partial = out.with_name(out.name + ".partial")
    with _told(out, partial), ExitStack() as held:
        partial.mkdir(parents=True, exist_ok=True)
        held.enter_context(FolderLock(partial))
        if out.exists() and (finished := _finished(out, request)) is not None:  # made since we looked
            shutil.rmtree(partial)
            return finished
        _prepare(partial, request)
        shares = shares_of(out, held, within=keep or [out.parent])
        plans = _plans(catalog, partial, height=height, width=width, kind=kind, quality=quality, rules=rules)
        if not (partial / "manifest.json").exists():
            plans = with_shares(plans, shares, {**request, "parts": _PARTS}, whole=merge or bool(keep))
            _make_all(plans, make or functools.partial(make_here, workers=workers), len(catalog.videos), progress)
            if keep:
                join_shares(catalog, plans, partial, request, beside=out.parent)
            else:
                join(catalog, plans, partial, request)
        kept = "shares" in read_object(partial / "manifest.json")
        for folder in shares:  # before the store counts: what is merged has gone from them
            if kept:
                leave_share(folder)
            else:
                shutil.rmtree(folder)
        _remove(partial / "request.json", *partial.glob("part-*"))
        if out.exists():
            out.rmdir()  # empty: _finished() looked
        partial.rename(out)
        (out / LOCK).unlink()
    return FrameStore(out)


def build_share(
    catalog: Catalog,
    out: str | Path,
    *,
    shard: Shard,
    height: int,
    width: int,
    kind: Kind = "jpeg",
    quality: int = 90,
    rules: PixelRules = AS_CODED,
    workers: int = 0,
    within: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Make the parts of one share of a store, beside ``out`` or in another folder, for ``build_store`` to join."""
    out = Path(out)
    request = _request(catalog, height=height, width=width, kind=kind, quality=quality, rules=rules)
    if out.exists() and _finished(out, request) is not None:
        return
    folder = share_folder(out, shard, within=within)
    with _told(out, folder):
        folder.mkdir(parents=True, exist_ok=True)
        with FolderLock(folder):
            check_open(folder)
            _prepare(folder, request)
            plans = _plans(catalog, folder, height=height, width=width, kind=kind, quality=quality, rules=rules)
            own = own_parts(plans, shard)
            total = sum(len(plan.videos) for plan in own)
            _make_all(own, functools.partial(make_here, workers=workers), total, progress)


def _request(
    catalog: Catalog, *, height: int, width: int, kind: Kind, quality: int, rules: PixelRules
) -> dict[str, object]:
    """What a store is made of, for its manifest."""
    request: dict[str, object] = {
        "format": FORMAT,
        "height": height,
        "width": width,
        "kind": kind,
        "quality": quality if kind == "jpeg" else None,
        "root": str(catalog.root.resolve()),
        "videos": _fingerprint(catalog),
    }
    if rules != AS_CODED:
        request["pixels"] = rules_to_json(rules)
    if catalog.blank:
        request["blank"] = [list(box) for box in catalog.blank]
    return request


@contextmanager
def _told(out: Path, partial: Path) -> Iterator[None]:
    """What the system says while a store is written, as a sentence."""
    try:
        yield
    except OSError as error:
        if not partial.is_dir():
            raise UserError(f"{out}: cannot be written ({error.strerror or error}); choose another --out.") from error
        cause = f"{printable(str(error.filename))}: {error.strerror}" if error.filename else error
        what = "the disk is full. Make room" if error.errno in FULL else f"cannot be written ({cause}). Mend that"
        raise UserError(f"{out}: {what} and run the same command again: what is done is kept in {partial}.") from error


def _fingerprint(catalog: Catalog) -> str:
    """Changes when the catalog does, or a file's size or time."""
    digest = hashlib.sha256()
    for video in catalog.videos:
        try:
            file = catalog.file(video)
            stamp = (size_of(file), on_disk(file).stat().st_mtime_ns)
        except OSError:
            stamp = (0, 0)
        row = astuple(video)
        if row[_FIRST_FIELDS:] == _LATER_FIELDS:  # as before there were these
            row = row[:_FIRST_FIELDS]
        digest.update(repr((row, stamp)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _finished(out: Path, request: dict[str, object]) -> FrameStore | None:
    """The store that ``out`` holds, if it is the one asked for; ``None`` for an empty folder."""
    if out.is_dir() and not any(out.iterdir()):
        return None
    try:
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{out} exists and is not a frame store. Choose another folder.") from None
    keys = request.keys() | ({"blank", "pixels"} & manifest.keys())
    changed = [key for key in sorted(keys) if manifest.get(key) != request.get(key)]
    if changed:
        what = " and ".join(_OTHER.get(key, f"another {key}") for key in changed)
        raise UserError(f"{out} holds a frame store made with {what}. Choose another folder, or delete it.")
    with suppress(OSError):
        (out / LOCK).unlink()  # of a process that was killed when it had just been made
    return FrameStore(out)


def _prepare(partial: Path, request: dict[str, object]) -> None:
    """Remove what another request left in the folder in which the store grows, and unfinished files.

    A decode process outlives one that was killed by half a second, and may finish such a file: the same as we make.
    """
    plan, done = partial / "request.json", partial / "manifest.json"
    parts = {**request, "parts": _PARTS}
    finished = {key: value for key, value in read_object(done).items() if key not in ("shares", "pieces")}
    same = read_object(plan) == parts or finished == request
    for path in partial.iterdir():
        if path.name == LOCK or (same and path.suffix != ".tmp"):
            continue
        _remove(path)
    if not same:
        write_json(plan, parts)


def _plans(
    catalog: Catalog, folder: Path, *, height: int, width: int, kind: Kind, quality: int, rules: PixelRules
) -> list[PartPlan]:
    """Cut the catalog into parts: some videos or some thousand frames each, whatever the number of processes.

    All videos of one file are in one part, so that the file is read once.
    """
    groups: list[list[Video]] = []
    frames = 0
    for video in catalog.videos:
        full = not groups or len(groups[-1]) >= _PART_VIDEOS or frames + video.frames > _PART_FRAMES
        if full and not (groups and groups[-1][-1].path == video.path):
            groups.append([])
            frames = 0
        groups[-1].append(video)
        frames += video.frames
    root = catalog.root.resolve()
    return [
        PartPlan(n, root, folder, tuple(group), height, width, kind, quality, rules, catalog.blank)
        for n, group in enumerate(groups)
    ]


def _make_all(plans: Sequence[PartPlan], make: Make, total: int, progress: Callable[[int, int], None] | None) -> None:
    """Make the parts that are not there yet."""
    todo = [plan for plan in plans if not plan.facts.exists()]
    done = total - sum(len(plan.videos) for plan in todo)

    def made(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    make(todo, made)


def _remove(*paths: Path) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
