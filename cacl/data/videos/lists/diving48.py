"""Diving48: JSON lists of ``{"vid_name": "zBUFJ2EsGnw_00001", "label": 25, "start_frame": 0, "end_frame": 188}``.

A file is one dive, so the frame numbers say nothing more. With ``Diving48_vocab.json`` beside them, a class has its
four parts for a name, else its number.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cacl.data.videos.lists.entry import Entry, Listing, split_of_list
from cacl.data.videos.lists.text import read_json


def is_diving48(path: Path) -> bool:
    """Whether a JSON file is such a list."""
    return _items(read_json(path)) is not None


def diving48_lists(files: Iterable[Path]) -> Listing:
    """The lists of the parts: ``Diving48_V2_train.json``, ``Diving48_V2_test.json``."""
    used = sorted(files)
    names = _vocabulary(used[0].parent)
    entries = [
        Entry(item["vid_name"], (names.get(item["label"], str(item["label"])),), split)
        for path, split in zip(used, map(split_of_list, used), strict=True)
        for item in _items(read_json(path)) or []
    ]
    return Listing(tuple(entries), tuple(used), "in none of the Diving48 lists", True)


def _vocabulary(folder: Path) -> dict[int, str]:
    found = next((p for p in sorted(folder.iterdir()) if p.name.lower().endswith("vocab.json")), None)
    content = None if found is None else read_json(found)
    if not isinstance(content, list):
        return {}
    return {number: " ".join(map(str, parts)) for number, parts in enumerate(content) if isinstance(parts, list)}


def _items(content: Any) -> list[Any] | None:
    if not isinstance(content, list) or not content:
        return None
    good = all(
        isinstance(item, dict) and isinstance(item.get("vid_name"), str) and isinstance(item.get("label"), int)
        for item in content
    )
    return content if good else None
