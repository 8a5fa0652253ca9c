"""Which file an entry of a list means.

A name with folders means only the file that lies there; a name alone means the one file that is called so. Lists say
``.avi`` where files are ``.mp4``, so the suffix may differ, and so may capital letters, where that leaves one file.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from cacl.data.videos.lists.entry import Entry, Listing
from cacl.data.videos.lists.plain import SUFFIXES
from cacl.errors import UserError

_MISSING_SHARE = 0.5
_LONGEST = 40  # letters of a name in a sentence
_DRIVE = re.compile(r"^([A-Za-z]:[\\/]|\\\\)")
Parts = tuple[str, ...]


class OtherVideosError(UserError):
    """A list names mostly files that are not there."""


def match(listing: Listing, paths: Iterable[str], *, root: Path) -> tuple[list[tuple[Entry, str]], list[Entry]]:
    """Pair entries with files.

    Args:
        paths: the files that were found, relative to ``root``, with ``/``.
        root: the folder of videos; lists may name folders above it.

    Returns:
        Pairs of entry (with the name and labels that fit) and file in the order of the entries; entries without a file.

    Raises:
        OtherVideosError: more than half of the entries have no file.
        UserError: an entry may mean several files.
    """
    there = _Files(paths, root, unique_names=listing.unique_names)
    shared = _shared_folder(listing)
    pairs: list[tuple[Entry, str]] = []
    missing: list[Entry] = []
    doubtful: list[tuple[Entry, list[str]]] = []
    for entry in listing.entries:
        for name, labels in entry.readings or ((entry.name, entry.labels),):
            if found := there.called(name, shared):
                if len(found) > 1:
                    doubtful.append((entry, found))
                pairs.append((replace(entry, name=name, labels=labels, readings=()), found[0]))
                break
        else:
            missing.append(entry)
    where = listing.files[0] if len(listing.files) == 1 else listing.files[0].parent
    if len(missing) > _MISSING_SHARE * len(listing.entries):
        first = ", ".join(e.name if len(e.name) <= _LONGEST else f"{e.name[:_LONGEST]}…" for e in missing[:3])
        raise OtherVideosError(
            f"{where}: {len(missing)} of the {len(listing.entries)} videos named there are not in the folder of "
            f"videos, first {first}. Check that the lists belong to these videos."
        )
    if doubtful:
        entry, found = doubtful[0]
        raise UserError(
            f"{where}: '{entry.name}' may be {found[0]} or {found[1]}; write the folder before the name there."
        )
    return pairs, missing


class _Files:
    """The files of a folder, to be found by name."""

    def __init__(self, paths: Iterable[str], root: Path, *, unique_names: bool) -> None:
        self._unique_names = unique_names
        self._above = _parts(str(root.resolve()))
        self._by_name: defaultdict[str, list[str]] = defaultdict(list)
        for path in paths:
            name = _folded(path.rsplit("/", 1)[-1])
            for key in {name, _stem(name)}:
                self._by_name[key].append(path)

    def called(self, name: str, shared: int) -> list[str]:
        """The files that a name may mean: none, the one, or several among which nothing decides."""
        for parts in _spellings(name, shared):
            last = _folded(parts[-1])
            for key in dict.fromkeys((last, _stem(last, SUFFIXES))):
                found = [path for path in self._by_name.get(key, ()) if self._lies_there(parts, path)]
                if found:
                    ranks = [self._rank(parts, path) for path in found]
                    return sorted(path for path, rank in zip(found, ranks, strict=True) if rank == max(ranks))
        return []

    def _lies_there(self, parts: Parts, path: str) -> bool:
        """Whether the folders are those of the name, as far as it says some; a list may name those above the root."""
        folders = [_folded(part) for part in parts[:-1]]
        if self._unique_names or not folders:
            return True
        theirs = [_folded(part) for part in (*self._above, *_parts(path)[:-1])]
        return theirs[-len(folders) :] == folders

    def _rank(self, parts: Parts, path: str) -> tuple[int | bool, ...]:
        """The larger, the better a file fits."""
        theirs = _parts(path)
        same = 0
        if self._unique_names:
            for a, b in zip(map(_folded, parts[-2::-1]), map(_folded, theirs[-2::-1]), strict=False):
                if a != b:
                    break
                same += 1
        return (
            tuple(map(_folded, parts)) == tuple(map(_folded, theirs)),
            _folded(parts[-1]) == _folded(theirs[-1]),
            (_stem(parts[-1], SUFFIXES) == parts[-1])
            == (_stem(theirs[-1]) == theirs[-1]),  # a file, a folder of pictures
            _stem(parts[-1], SUFFIXES) == _stem(theirs[-1]),  # capitals: names of YouTube differ in nothing else
            same,
            parts[-len(theirs) :] == theirs[-len(parts) :],
        )


def _spellings(name: str, shared: int) -> Iterator[Parts]:
    """The parts of a name: as it is, with ``\\`` for ``/``, and without the folder that all names of the list share."""
    for text in dict.fromkeys((name, name.replace("\\", "/"))):
        if parts := _parts(text):
            yield parts
    if _is_absolute(name) and shared and (parts := _parts(name.replace("\\", "/"))[shared:]):
        yield parts


def _shared_folder(listing: Listing) -> int:
    """How many folders all absolute names begin with: where the videos lay for whoever wrote the list."""
    absolute = [_parts(e.name.replace("\\", "/"))[:-1] for e in listing.entries if _is_absolute(e.name)]
    return sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*absolute, strict=False)))


def _is_absolute(name: str) -> bool:
    return name.startswith("/") or bool(_DRIVE.match(name))


def _parts(path: str) -> Parts:
    return tuple(unicodedata.normalize("NFC", part) for part in path.split("/") if part not in ("", ".", ".."))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _stem(name: str, suffixes: frozenset[str] | None = None) -> str:
    """A name without its suffix: one of these, or by default any that is no number (``2019.07`` has none)."""
    stem, dot, suffix = name.rpartition(".")
    known = suffix.lower() in suffixes if suffixes is not None else suffix.isalnum() and not suffix.isdigit()
    return stem if dot and stem and known else name
