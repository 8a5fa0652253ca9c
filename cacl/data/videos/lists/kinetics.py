"""Kinetics-400, -600 and -700: tables of YouTube names with seconds, or the same as JSON.

A file is called ``<youtube_id>_<start>_<end>`` (six digits each) or ``<youtube_id>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from cacl.data.videos.lists.entry import Entry, Listing, split_of_list, split_of_name
from cacl.data.videos.lists.text import header, one_label, read_json, rows, seconds

_COLUMNS = {"youtube_id", "time_start", "time_end"}  # and label, but for held-out tests; split; is_cc


def is_kinetics(path: Path) -> bool:
    """Whether a file is such a table, by its first line, or such a JSON."""
    if path.suffix.lower() == ".json":
        return _objects(read_json(path)) is not None
    return set(header(path)) >= _COLUMNS


def kinetics_lists(files: Iterable[Path]) -> Listing:
    """Tables and JSON files of one data set; a part that they do not name is that of the file's own name."""
    used = sorted(files)
    entries = [entry for path in used for entry in (_json if path.suffix.lower() == ".json" else _table)(path)]
    return Listing(tuple(entries), tuple(used), "in none of the Kinetics lists", True)


def _table(path: Path) -> Iterator[Entry]:
    for number, row in rows(path, needs="youtube_id"):
        times = seconds(path, number, row, "time_start"), seconds(path, number, row, "time_end")
        split = split_of_name(row.get("split") or "") or split_of_list(path)
        yield _entry(row["youtube_id"], times, one_label(row.get("label")), split)


def _json(path: Path) -> Iterator[Entry]:
    """``{"id": {"annotations": {"label": …, "segment": [0, 10]}, "subset": "train", …}, …}``."""
    for name, item in (_objects(read_json(path)) or {}).items():
        first, last = item["annotations"]["segment"]
        split = split_of_name(str(item.get("subset", ""))) or split_of_list(path)
        yield _entry(name, (float(first), float(last)), one_label(item["annotations"].get("label")), split)


def _entry(name: str, times: tuple[float, float], labels: tuple[str, ...], split: str | None) -> Entry:
    file = "_".join([name, *(f"{time:06.0f}" for time in times)])
    return Entry(file, labels, split, readings=((file, labels), (name, labels)))


def _objects(content: Any) -> dict[str, Any] | None:
    """The JSON of Kinetics, or ``None`` where it is something else."""
    if not isinstance(content, dict) or not content:
        return None
    return content if all(map(_is_object, content.values())) else None


def _is_object(item: Any) -> bool:
    about = item.get("annotations") if isinstance(item, dict) else None
    segment = about.get("segment") if isinstance(about, dict) else None
    return isinstance(segment, list) and len(segment) == 2 and all(isinstance(x, int | float) for x in segment)
