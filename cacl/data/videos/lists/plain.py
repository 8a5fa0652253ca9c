"""Plain lists: one file a line, with or without labels behind it.

A name may have blanks and commas in it. So a line is read in every way that is possible, and the way whose name is
that of a file is taken, the longest name first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cacl.data.videos.lists.entry import Entry, Listing, split_of_list, split_of_name
from cacl.data.videos.lists.text import lines, one_label
from cacl.errors import UserError

SUFFIXES = frozenset(
    (  # noqa: SIM905
        "3g2 3gp amv apng asf avi avif dav divx dv f4v flv gif h264 h265 hevc ivf m1v m2t m2ts m2v m4v mjpeg mjpg mkv "
        "mov mp4 mpe mpeg mpg mts mxf nut obu ogg ogm ogv qt rm rmvb tif tiff ts vob webm webp wmv y4m"
    ).split()
)
LIST_SUFFIXES = ("txt", "csv", "tsv", "json", "lst", "list")
_SUFFIX = re.compile(r"\.(\w+)(?=[\s,;]|$)")
_SEPARATOR = re.compile(r"\s*[,;\t]\s*|\s+")
_NUMBERS = re.compile(r"-?\d+(?:(?:\s*[,;]\s*|\s+)-?\d+)+")
_QUOTED = re.compile(r'"((?:[^"]|"")+)"\s*(?:[,;\t]?\s*(.*))')
_MOST_READINGS = 32


def plain_lists(files: Iterable[Path]) -> Listing:
    """Lists such as ``train.txt``, whose name says the part, or ``train.csv`` with ``path label``."""
    used = sorted(files)
    entries: list[Entry] = []
    for path in used:
        split = split_of_name(path.stem) or (split_of_list(path) if path.suffix.lower() == ".csv" else None)
        entries += [_entry(path, number, line, split) for number, line in lines(path)]
    return Listing(tuple(entries), tuple(used), f"not in {' or '.join(p.name for p in used)}", False)


def _entry(path: Path, number: int, line: str, split: str | None) -> Entry:
    if line.startswith('"'):
        return _quoted(path, number, line, split)
    least = next((found.end() for found in _SUFFIX.finditer(line) if found[1].lower() in SUFFIXES), 0)
    ends = [(found.start(), found.end()) for found in _SEPARATOR.finditer(line) if found.start() >= max(least, 1)]
    readings = [(line, ()), *((line[:end], labels_of(line[begin:])) for end, begin in reversed(ends[:_MOST_READINGS]))]
    name, labels = _likely(line, readings, known_suffix=bool(least))
    return Entry(name, labels, split, readings=tuple(readings))


def _likely(
    line: str, readings: list[tuple[str, tuple[str, ...]]], *, known_suffix: bool
) -> tuple[str, tuple[str, ...]]:
    """What a line says where no file has any of the names."""
    for mark in "" if known_suffix else "\t;,":
        if mark in line:
            name, _, rest = line.partition(mark)
            return name.strip(), labels_of(rest)
    return readings[-1]


def _quoted(path: Path, number: int, line: str, split: str | None) -> Entry:
    """``"Hello, world.mp4",wave``."""
    found = _QUOTED.fullmatch(line)
    if found is None:
        raise UserError(f"{path}, line {number}: the quotation marks of '{line[:80]}' do not pair up.")
    return Entry(found[1].replace('""', '"').strip(), labels_of(found[2]), split)


def labels_of(text: str) -> tuple[str, ...]:
    """What stands behind a file's name as its labels: several where it is several whole numbers, else one, as it is."""
    text = text.strip()
    if _NUMBERS.fullmatch(text):
        return () if text.split() == ["0", "-1"] else tuple(dict.fromkeys(_words(text)))  # VideoMAE: no label, a video
    return one_label(text.strip('"') if text.count('"') == 2 and text[0] == text[-1] == '"' else text)


def _words(text: str) -> Iterator[str]:
    return (word for word in re.split(r"[\s,;]+", text) if word)
