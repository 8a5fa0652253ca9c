"""HMDB51: ``<class>_test_splitN.txt``, where ``video.avi 1`` is a training video, 2 a test video, 0 neither."""

from __future__ import annotations

from pathlib import Path

from cacl.data.videos.lists.entry import Entry, Listing
from cacl.data.videos.lists.text import lines
from cacl.errors import UserError

_TAGS = {"1": "train", "2": "test"}  # 0: in neither list of this split


def hmdb51_lists(folder: Path, *, split: int = 1) -> Listing:
    """The lists of one split, a file a class."""
    entries: list[Entry] = []
    ending = f"_test_split{split}.txt"
    files = sorted(p for p in folder.iterdir() if p.name.endswith(ending))
    for path in files:
        label = path.name.removesuffix(ending)
        for number, line in lines(path):
            name, _, tag = line.rpartition(" ")
            if not name or tag not in {"0", "1", "2"}:
                raise UserError(f"{path}, line {number}: '{line}' is not of the form video.avi 0, 1 or 2.")
            if tag in _TAGS:
                entries.append(Entry(f"{label}/{name.strip()}", (label,), _TAGS[tag]))
    return Listing(tuple(entries), tuple(files), f"in neither list of split {split}", True, split)
