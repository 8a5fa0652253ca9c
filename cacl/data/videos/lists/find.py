"""Which files of a folder are lists, and of what kind."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from cacl.data.remote.servers import is_url
from cacl.data.videos.lists.diving48 import diving48_lists, is_diving48
from cacl.data.videos.lists.entry import SPLIT_NAMES, Listing, split_of_list, split_of_name
from cacl.data.videos.lists.frame_rows import frame_row_lists, is_frame_rows
from cacl.data.videos.lists.hmdb51 import hmdb51_lists
from cacl.data.videos.lists.kinetics import is_kinetics, kinetics_lists
from cacl.data.videos.lists.lerobot import is_lerobot, lerobot_lists
from cacl.data.videos.lists.plain import LIST_SUFFIXES, SUFFIXES, plain_lists
from cacl.data.videos.lists.something import is_something, something_lists
from cacl.data.videos.lists.table import is_table, tables
from cacl.data.videos.lists.text import decoded, header
from cacl.data.videos.lists.ucf101 import ucf101_lists
from cacl.errors import UserError

_TABLES = (".csv", ".tsv")
_TEXTS = (*_TABLES, ".txt", ".lst", ".list")
_LISTS = (*_TEXTS, ".json")
_PART_NAME = re.compile(rf"({'|'.join(SPLIT_NAMES)})[ _-]?(list|split|set|videos|labels|files|annotations)?[ _-]?\d*")
_READ = 65_536  # bytes
_LOOKED_AT = 40  # lines of a file that may be a list


def read_lists(place: Path, *, split: int = 1) -> Listing:
    """Read the list files in a folder (or one list file).

    Args:
        place: folder with the lists of a known data set, a ``videos.csv`` or plain lists; or one file.
        split: which of the official splits, from 1.

    Raises:
        UserError: there are no lists, or not of this split, or a line cannot be read.
    """
    if not place.exists():
        raise UserError(f"{place}: no such file or folder. Name the folder that holds the split lists.")
    if place.is_file():
        return _one_file(place)
    found = find_lists(place, split=split)
    if found is not None:
        return found
    numbers = sorted(
        {int(m[1]) for m in (re.search(r"(?:list0|split)(\d)\.txt$", p.name) for p in place.iterdir()) if m}
    )
    if numbers:
        there = ", ".join(map(str, numbers))
        raise UserError(f"{place}: no lists of split {split} there, but of {there}. Choose one of them with --split.")
    raise UserError(
        f"{place}: no split lists found. Expected UCF101's trainlist0{split}.txt and testlist0{split}.txt, HMDB51's "
        f"<class>_test_split{split}.txt, tables or JSON of Kinetics, Something-Something or Diving48, a videos.csv, or "
        "plain lists such as train.txt or train.csv."
    )


def names_addresses(place: Path) -> bool:
    """Whether a file is a list of addresses alone, so that the folder in which it lies is not the videos'."""
    if not place.is_file() or place.suffix.lower().lstrip(".") not in LIST_SUFFIXES:
        return False
    try:
        return all(is_url(entry.name) for entry in read_lists(place).entries)
    except UserError:
        return False  # whoever reads it says so


def find_lists(folder: Path, *, split: int = 1) -> Listing | None:
    """The lists of a folder, of whatever kind they are; ``None`` where there are none."""
    with os.scandir(folder) as entries:  # of a folder of many videos few are made into a Path
        lists = sorted(one.name for one in entries if one.name.lower().endswith(_LISTS) and one.is_file())
    names = {name.lower(): folder / name for name in lists}
    if "videos.csv" in names:
        return tables([names["videos.csv"]])
    if f"trainlist0{split}.txt" in names or f"testlist0{split}.txt" in names:
        return ucf101_lists(folder, split=split)
    if any(name.endswith(f"_test_split{split}.txt") for name in names):
        return hmdb51_lists(folder, split=split)
    if is_lerobot(folder):
        return lerobot_lists(folder)
    json = [p for name, p in names.items() if name.endswith(".json") and split_of_list(p)]
    csv = [p for name, p in names.items() if name.endswith(_TABLES)]
    for files, belongs, read in (
        (csv + json, is_kinetics, kinetics_lists),
        (json, is_something, something_lists),
        (json, is_diving48, diving48_lists),
        (csv, is_frame_rows, frame_row_lists),
        ([p for p in csv if _PART_NAME.fullmatch(p.stem.lower())], is_table, tables),
        ([p for p in csv if _PART_NAME.fullmatch(p.stem.lower())], _has_no_header, plain_lists),
        ([p for name, p in names.items() if name.endswith(".txt")], _is_part, plain_lists),
    ):
        if chosen := [path for path in files if belongs(path)]:
            return read(chosen)
    return None


def own_lists(root: Path, split: int) -> Listing | None:
    """Lists that lie with the videos: a ``videos.csv`` in their folder, official lists there or in a folder below it.

    Nobody named these, so whatever cannot be read as lists is passed over, but for ``videos.csv`` and the episodes of a
    LeRobot data set.
    """
    if os.path.isfile(root / "videos.csv"):  # Path.is_file raises where the folder may not be entered
        return read_lists(root / "videos.csv", split=split)
    try:
        if is_lerobot(root):
            return lerobot_lists(root)
        below = sorted(p for p in root.iterdir() if not p.name.startswith(".") and p.is_dir())
    except OSError:
        return None  # the walk says why
    for folder in [root, *below]:
        try:
            listing = find_lists(folder, split=split)
        except (OSError, UserError):
            continue
        if listing is not None and listing.files[0].name.lower() != "videos.csv":
            return listing
    return None


def check_split(root: Path, listing: Listing | None, split: int) -> None:
    """Raise UserError where a split is asked for and the lists have but one, or there are none."""
    if split != 1 and (listing is None or listing.split is None):
        raise UserError(
            f"{root}: there are no lists of several splits, but split {split} was asked for; name the folder of the "
            "lists with --lists, or leave the split out."
        )


def looks_like_list(path: Path, stems: Collection[str]) -> bool:
    """Whether a text file that is not used names videos that are there.

    Args:
        stems: names of the videos without folder and suffix, in small letters.
    """
    if path.suffix.lower() == ".json":
        return is_something(path) or is_diving48(path) or is_kinetics(path)
    if path.suffix.lower() not in _TEXTS:
        return False
    with path.open("rb") as file:
        lines = [line for line in decoded(file.read(_READ)).splitlines()[:_LOOKED_AT] if line.strip()]
    hits = sum(any(name in stems for name in _names_in(line)) for line in lines)
    return hits > 0 and hits >= len(lines) / 2


def _names_in(line: str) -> Iterator[str]:
    """What may be names of videos in a line, without suffix: its fields, and words with a video's suffix."""
    yield from (_stem_of(field.strip(' "')) for field in re.split(r"[,;\t]", line))
    words = line.replace('"', " ").split()
    yield from (_stem_of(word) for word in words if word.rpartition(".")[2].lower() in SUFFIXES)


def _stem_of(word: str) -> str:
    last = word.replace("\\", "/").rsplit("/", 1)[-1].lower()
    stem, _, suffix = last.rpartition(".")
    return stem if suffix in SUFFIXES else last


def _one_file(path: Path) -> Listing:
    """The one list that was named."""
    if path.name.lower() == "videos.csv" or is_table(path):
        return frame_row_lists([path]) if is_frame_rows(path) else tables([path])
    if is_frame_rows(path):
        return frame_row_lists([path])
    if is_kinetics(path):
        return kinetics_lists([path])
    if path.suffix.lower() == ".json":
        if is_something(path):
            return something_lists([path])
        if is_diving48(path):
            return diving48_lists([path])
        raise UserError(f"{path}: a JSON file, but no list of Kinetics, Something-Something or Diving48.")
    if path.suffix.lower() in _TABLES and not _has_no_header(path):
        return tables([path])  # which says what it misses
    return plain_lists([path])


def _is_part(path: Path) -> bool:
    return split_of_name(path.stem) is not None


def _has_no_header(path: Path) -> bool:
    """Whether the first line is a video's and not names of columns."""
    fields = header(path)
    return len(fields) < 2 or not all(re.fullmatch(r"[a-z][a-z _]*", field) for field in fields)
