"""What is new, changed, gone or absent in the folder of an index, and which vectors of videos are there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cacl.data.media.pictures import on_disk
from cacl.data.remote.place import file_at, remote_is_there
from cacl.data.remote.servers import is_url
from cacl.data.videos.catalog import Catalog, Skipped, Video
from cacl.data.videos.passing import may_pass
from cacl.indexing.journal import Journal, Piece
from cacl.indexing.known import Known, Memory
from cacl.indexing.layout import key_of


@dataclass(frozen=True)
class Entry:
    """A video of the folder as it is now, or as it was where it is absent."""

    key: str
    video: Video


@dataclass(frozen=True)
class Found:
    """The folder beside what is known of it.

    Attributes:
        entries: the videos that the index is to hold, in order; absent ones among them.
        skipped: every other file.
        to_do: those whose vectors are not there.
        gone: how many videos of the old index are in it no more.
    """

    entries: tuple[Entry, ...]
    skipped: tuple[Skipped, ...]
    to_do: tuple[Entry, ...]
    gone: int

    @property
    def absent(self) -> int:
        """How many of them are not there."""
        return sum(entry.video.absent for entry in self.entries)


def compare(
    catalog: Catalog, memory: Memory, old: Iterable[Entry], known: Known, pieces: Mapping[str, Piece], *, prune: bool
) -> Found:
    """Compare a folder with an index of it.

    Args:
        catalog: what was found in the folder.
        memory: what it was found with.
        old: the videos of the index.
        known: what the index knows.
        pieces: vectors that are there, of the index and of what an interrupted run left.
        prune: give up those that are absent.
    """
    present = [Entry(key_of(video, memory.seen[video.path].stamp), video) for video in catalog.videos]
    keys = {entry.key for entry in present}
    missing = [entry for entry in old if entry.key not in keys]
    absent = [entry for entry in missing if not prune and not is_there(catalog.root, entry.video.path)]
    entries = [*present, *(Entry(entry.key, replace(entry.video, absent=True)) for entry in absent)]
    entries.sort(key=lambda entry: (entry.video.path, entry.video.first_frame, entry.video.id))
    lasting = {key for key, reason in known.failed.items() if not may_pass(reason)}
    to_do = [
        entry
        for entry in present
        if entry.key not in lasting and (entry.key not in pieces or may_pass(pieces[entry.key].problem))
    ]
    return Found(tuple(entries), catalog.skipped, tuple(to_do), len(missing) - len(absent))


def is_there(root: Path, path: str) -> bool:
    """Whether a video's file, or folder of pictures, is there."""
    file = file_at(root, path)
    return remote_is_there(str(file)) if is_url(file) else on_disk(file).exists()


def joined(
    found: Found, known: Known, pieces: Mapping[str, Piece], journal: Journal, root: Path
) -> tuple[Catalog, list[Piece], Known]:
    """What a new generation is made of: its catalog, the stretches of its videos, and what is known of the files.

    Args:
        known: what was found in files, and why videos could not be embedded.
        pieces, journal: vectors that are there.
    """
    failed = {**known.failed, **journal.failed}
    good, skipped, kept = list[Entry](), list(found.skipped), dict[str, str]()
    for entry in found.entries:
        if entry.key in pieces:
            good.append(entry)
        else:
            reason = kept[entry.key] = failed[entry.key]
            skipped.append(Skipped(entry.video.path, reason))
    broken = {entry.key: pieces[entry.key].problem for entry in good if pieces[entry.key].problem}
    videos = [
        entry.video.noted(_broken(broken[entry.key], entry.video)) if entry.key in broken else entry.video
        for entry in good
    ]
    keys = tuple(entry.key for entry in good)
    catalog = Catalog(root, tuple(videos), tuple(sorted(skipped, key=lambda item: item.path)))
    return catalog, [pieces[key] for key in keys], Known(known.looked, keys, kept, broken)


def _broken(problem: str, video: Video) -> str:
    note = f"used up to its break ({problem})"
    return "" if note in video.note else note  # of an absent one it is noted already
