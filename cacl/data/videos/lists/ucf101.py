"""UCF101: ``trainlist01.txt`` (``Class/v_Class_g01_c01.avi 1``) and ``testlist01.txt`` (without the number)."""

from __future__ import annotations

import re
from pathlib import Path

from cacl.data.videos.lists.entry import Entry, Listing
from cacl.data.videos.lists.text import lines
from cacl.errors import UserError


def ucf101_lists(folder: Path, *, split: int = 1) -> Listing:
    """The lists of one split.

    The folder in the name is the label. The numbers count classes from 1, in the order of ``classInd.txt``; they say
    nothing that the folder does not.
    """
    entries: list[Entry] = []
    files = [folder / f"{part}list0{split}.txt" for part in ("train", "test")]
    for part, path in zip(("train", "test"), files, strict=True):
        if not path.is_file():
            raise UserError(f"{path}: no such file. UCF101's split {split} needs a train list and a test list.")
        for number, line in lines(path):
            name = re.sub(r"\s+\d+$", "", line).replace("\\", "/")
            if "/" not in name:
                raise UserError(f"{path}, line {number}: '{line}' is not of the form Class/video.avi.")
            entries.append(Entry(name, (name.split("/")[-2],), part))
    return Listing(tuple(entries), tuple(files), f"in neither list of split {split}", True, split)
