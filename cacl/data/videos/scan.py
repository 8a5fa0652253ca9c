"""Every file of a folder, accounted for: used as a video, or skipped with a reason; totals always add up.

A video is known by its content, not by its suffix. Labels and splits come from list files or ``videos.csv`` where
there are some, else from folders (``train/CLASS/video.mp4``, ``CLASS/video.mp4``).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from cacl.ahead import in_order
from cacl.data.media.cut import Box
from cacl.data.media.stream import TEXT
from cacl.data.remote.place import forget, place, why_no_address
from cacl.data.remote.servers import is_url
from cacl.data.videos.catalog import MISSING, UNUSED, Catalog, Skipped, Video
from cacl.data.videos.frame_folders import by_themselves, frame_folders
from cacl.data.videos.lists.entry import Entry, Listing, split_of_name
from cacl.data.videos.lists.find import check_split, looks_like_list, own_lists, read_lists
from cacl.data.videos.lists.match import OtherVideosError
from cacl.data.videos.look import Look, look
from cacl.data.videos.named import Named
from cacl.data.videos.walk import walk, why_no_video
from cacl.errors import UserError, counted

_AT_ONCE = 8  # files of a server
_MOST_LISTS = 50  # text files that are looked at once more


def scan(
    root: str | Path,
    *,
    lists: str | Path | None = None,
    split: int = 1,
    deep: bool = False,
    rate: float = 0.0,
    blank: tuple[Box, ...] = (),
    look: Look = look,
    empty: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Catalog:
    """Look at every file below a folder, or at one video file.

    Args:
        root: the folder; or a list file or ``videos.csv`` in it. Links are followed, but never in a circle. Or an
            address, of one video or a prefix of an object store; a list may name addresses, too.
        lists: folder with split lists, or one list file; files that they do not name are skipped. Without it, lists
            that lie in ``root`` or one folder below give labels and splits.
        split: which of the official splits, from 1.
        deep: decode every video once, to know which ones break. Without it a video's packets are read, about a
            millisecond a file, and a break shows later.
        rate: frames a second of pictures in folders, where no list says it; 0: unknown.
        blank: boxes that are black in the frames of all videos.
        look: what opens a file; for who remembers what was found before.
        empty: a folder without a video is none the worse.
        progress: called with files done and files in all.

    Returns:
        Videos in the order of their paths (parts of one file by their beginning), every other file with its reason.

    Raises:
        UserError: no such folder, no video in it, or lists that name mostly files that are not there.
    """
    root = place(root)
    try:
        root.stat()
    except OSError as error:
        reason = "no such folder" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
        raise UserError(f"{root}: {reason}. Name the folder that holds the videos.") from None
    in_place = None  # of the folder: a list that was named there
    if root.is_file() and why_no_video(root) == TEXT:
        root, lists, in_place = root.parent, root, root
    if root.is_file():
        root, files, out, listing = root.parent, [root.name], [], None
    elif not root.is_dir():
        raise UserError(f"{root} is neither a folder nor a file: name the folder that holds the videos.")
    else:
        listing = _listing(root, lists, split)
        of_addresses = in_place is not None and listing is not None and all(is_url(e.name) for e in listing.entries)
        files, others = ([], []) if of_addresses else walk(root)
        out = [Skipped(path, reason) for path, reason in others]
    check_split(root, listing, split)
    strict = listing is not None and (lists is not None or listing.files[0].name == "videos.csv")
    pictures = frame_folders(files)
    own = by_themselves(files, pictures)
    try:
        named = Named.of(root, files, pictures, own, listing, strict=strict)
    except OtherVideosError as error:
        if in_place is None:
            raise
        why = str(error).removeprefix(f"{in_place}: ")
        raise UserError(f"{in_place} is text, so it was read as a list of videos, one a line: {why}") from error
    places = own | (named.entries.keys() & pictures.keys())
    within = {path for place in places for path in pictures[place]}
    addresses = list(filter(is_url, named.entries))
    items = sorted({*files, *places, *addresses} - within)
    if addresses:
        forget()

    def found_in(path: str) -> list[Video | Skipped]:
        if why := named.lists.get(path) or why_no_address(path):
            return [Skipped(path, why)]
        if strict and path not in named.entries and listing is not None:
            return [Skipped(path, (path not in places and why_no_video(root / path)) or listing.absent)]
        entries = named.entries.get(path)
        return look(root, path, entries or [Entry(path)], deep=deep, rate=rate, named=entries is not None)

    videos: list[Video] = []
    away = bool(addresses) or is_url(root)
    for done, found in enumerate(in_order(found_in, items, threads=_AT_ONCE) if away else map(found_in, items), 1):
        videos += [item for item in found if isinstance(item, Video)]
        out += [item for item in found if isinstance(item, Skipped)]
        if progress is not None:
            progress(done, len(items))
    if not videos and not empty:
        raise _none_found(root, out, None if named.entries else in_place)
    out = _unused_lists(root, out, videos)
    out += [Skipped(entry.name, MISSING) for entry in named.missing]
    out.sort(key=lambda item: item.path)
    return Catalog(root, tuple(_with_folders(videos)), tuple(out), blank)


def _none_found(root: Path, out: list[Skipped], empty_list: Path | None) -> UserError:
    if empty_list is not None:
        return UserError(f"{empty_list} names no video: write one a line, or name a folder with videos.")
    return UserError(
        f"{root}: no video found among {counted(len(out), 'file')}{_most(out)}. Name a folder with videos."
    )


def _listing(root: Path, lists: str | Path | None, split: int) -> Listing | None:
    """The lists that were named, or those that lie there; what lies on a server is a video, or not opened."""
    if lists is not None:
        return read_lists(Path(lists), split=split)
    return None if is_url(root) else own_lists(root, split)


def _unused_lists(root: Path, skipped: Sequence[Skipped], videos: Sequence[Video]) -> list[Skipped]:
    """The same, but that files in the folder itself which look like lists are called so."""
    stems = {os.path.splitext(video.path.rsplit("/", 1)[-1])[0].lower() for video in videos}
    if is_url(root):
        return list(skipped)
    few = [item.path for item in skipped if "/" not in item.path and item.reason == TEXT][:_MOST_LISTS]
    looks = {path for path in few if looks_like_list(root / path, stems)}
    return [Skipped(item.path, UNUSED) if item.path in looks else item for item in skipped]


def _with_folders(videos: Sequence[Video]) -> Iterator[Video]:
    """Labels and splits from folders where no list gave any, and short ids where they stay distinct."""
    folders = [v.path.split("/")[:-1] for v in videos]
    # Folders above all of them are no classes; of a single folder nobody knows, so it is taken for one.
    common = takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))
    shared = len(list(common)) if len({tuple(f) for f in folders}) > 1 else 0
    inner = [f[shared:] for f in folders]
    splits = [split_of_name(f[0]) if f else None for f in inner]
    levels = [f[1:] if split else f for f, split in zip(inner, splits, strict=True)]
    levels = [f[:1] if len(f) == 2 and f[0] == f[1] else f for f in levels]
    labelled = all(len(f) <= 1 for f in levels)  # deeper trees are kept in order by something else than class
    short = Counter(os.path.splitext(v.path)[0] for v in videos)
    for video, split, level in zip(videos, splits, levels, strict=True):
        stem, suffix = os.path.splitext(video.path)
        name = video.id.replace(suffix, "", 1) if video.id == video.path and short[stem] == 1 and suffix else video.id
        label = video.label or (level[0] if labelled and level and not video.several else None)
        yield replace(video, id=name, label=label, split=video.split or split)


def _most(skipped: Sequence[Skipped]) -> str:
    """The most frequent reason, for the sentence that says that there is nothing to use."""
    reasons = Counter(s.reason for s in skipped).most_common(1)
    return f" (most often: {reasons[0][0]})" if reasons else ""
