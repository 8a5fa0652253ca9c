"""List files written by tests, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

from cacl.data.videos.lists.entry import Entry, Listing
from cacl.data.videos.lists.match import match

Row = tuple[str, tuple[str, ...], str | None]


def write(folder: Path, encoding: str = "utf-8", **files: str) -> Path:
    """Files of these names, ``__`` for the dot."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding=encoding)
    return folder


def matched(listing: Listing, *paths: str, root: Path = Path("/videos")) -> list[Row]:
    """(file, labels, split) of every entry that has a file, in the order of the list; there is none without."""
    pairs, missing = match(listing, paths, root=root)
    assert not missing
    return [(path, entry.labels, entry.split) for entry, path in pairs]


def only(entry: Entry) -> str | None:
    """Its one label."""
    assert len(entry.labels) < 2
    return entry.labels[0] if entry.labels else None
