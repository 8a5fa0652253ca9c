"""What the lists say of the files that were found."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cacl.data.remote.servers import is_url
from cacl.data.videos.lists.entry import Entry, Listing
from cacl.data.videos.lists.match import OtherVideosError, match
from cacl.data.videos.lists.plain import LIST_SUFFIXES


@dataclass(frozen=True)
class Named:
    """The files that lists name, and the lists.

    Attributes:
        entries: what is said of each file, its parts by their beginning.
        missing: entries without a file.
        lists: the list files among the files, with the reason why they are no videos.
    """

    entries: Mapping[str, list[Entry]]
    missing: Sequence[Entry]
    lists: Mapping[str, str]

    @classmethod
    def of(
        cls,
        root: Path,
        files: Sequence[str],
        pictures: Mapping[str, Sequence[str]],
        own: Collection[str],
        listing: Listing | None,
        *,
        strict: bool,
    ) -> Named:
        """Find the files of a list's entries.

        Args:
            root: the folder of videos.
            files: all that is in it.
            pictures: what may be a video of pictures, were it named.
            own: those of them that are one without that.
            listing: the entries.
            strict: the list was asked for, so it is an error where it names mostly other videos.

        Raises:
            OtherVideosError: it names mostly other videos.
            UserError: an entry may mean several files.
        """
        if listing is None:
            return cls({}, (), {})
        places = {path.resolve() for path in listing.files}
        lists = {path for path in files if _may_be_list(path) and (root / path).resolve() in places}
        addresses = [(replace(one, readings=()), one.name) for one in listing.entries if is_url(one.name)]
        listing = replace(listing, entries=tuple(one for one in listing.entries if not is_url(one.name)))
        there = [*(path for path in files if path not in lists), *pictures]
        single, folders = _apart(listing, there, pictures)
        try:
            pairs, missing = match(single, there, root=root)
        except OtherVideosError:
            if strict:
                raise
            return cls({}, (), dict.fromkeys(lists, "list file (names mostly other videos, not used)"))
        named = {path for _, path in pairs}
        below = [*(path for path in files if path not in lists), *own]
        pairs += [(entry, path) for path in below if path not in named for entry in _of_folder(path, folders)]
        return cls(_by_file([*pairs, *addresses], pictures), missing, dict.fromkeys(lists, "list file"))


def _may_be_list(path: str) -> bool:
    return path.lower().rpartition(".")[2] in LIST_SUFFIXES


def _apart(listing: Listing, there: Sequence[str], pictures: Collection[str]) -> tuple[Listing, dict[str, list[Entry]]]:
    """The listing without the entries that name a folder of videos (``.``: all of them), and these."""
    above = {"", *(part for path in there for part in _folders_of(path))}
    folders: dict[str, list[Entry]] = {}
    single: list[Entry] = []
    for entry in listing.entries:
        name = entry.name.replace("\\", "/").removeprefix("./").strip("/").removeprefix(".")
        if listing.unique_names or entry.readings or name not in above or name in pictures:
            single.append(entry)
        else:
            folders.setdefault(name, []).append(replace(entry, name=name))
    return (replace(listing, entries=tuple(single)) if folders else listing), folders


def _of_folder(path: str, folders: Mapping[str, list[Entry]]) -> list[Entry]:
    """What is said of the innermost folder of a file that something is said of."""
    return next((folders[folder] for folder in (*_folders_of(path), "") if folder in folders), [])


def _folders_of(path: str) -> Iterator[str]:
    """The folders of a file from the inside out, without the one that is looked through."""
    while path := path.rpartition("/")[0]:
        yield path


def _by_file(pairs: Sequence[tuple[Entry, str]], pictures: Mapping[str, Sequence[str]]) -> dict[str, list[Entry]]:
    """The entries of each file; a part in several rows has the labels of all of them."""
    parts: dict[tuple[object, ...], tuple[str, Entry]] = {}
    for entry, path in pairs:
        if path in pictures and entry.labels:
            entry = replace(entry, labels=_without_counts(entry.labels, len(pictures[path])))
        part = (path, entry.start, entry.end, entry.split, entry.region)
        before = parts.get(part, (path, entry))[1]
        parts[part] = path, replace(before, labels=tuple(dict.fromkeys(before.labels + entry.labels)))
    named: dict[str, list[Entry]] = {}
    for path, entry in sorted(parts.values(), key=lambda item: item[1].start):
        named.setdefault(path, []).append(entry)
    return named


def _without_counts(labels: tuple[str, ...], pictures: int) -> tuple[str, ...]:
    """Of ``folder 163 1``: the label, where the first number counts the pictures; ``folder 1 163``: none."""
    numbers = [int(label) if label.lstrip("-").isdigit() else None for label in labels]
    if len(labels) > 1 and numbers[0] is not None and abs(numbers[0] - pictures) <= 1:
        return labels[1:]
    if len(labels) == 2 and numbers[0] in (0, 1) and numbers[1] is not None and abs(numbers[1] - pictures) <= 1:
        return ()
    return labels
