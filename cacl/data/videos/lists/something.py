"""Something-Something v2: JSON lists of ``{"id": "78687", "template": "Holding [something] next to …", …}``.

The class is the template without its brackets, as ``labels.json`` has it; the test list has neither.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cacl.data.videos.lists.entry import Entry, Listing, split_of_list
from cacl.data.videos.lists.text import one_label, read_json


def is_something(path: Path) -> bool:
    """Whether a JSON file is such a list."""
    return _items(read_json(path)) is not None


def something_lists(files: Iterable[Path]) -> Listing:
    """The lists of the parts: ``something-something-v2-train.json`` or ``train.json``, and so on."""
    used = sorted(files)
    entries = [
        Entry(str(item["id"]), one_label(item.get("template", "").replace("[", "").replace("]", "")), split)
        for path, split in zip(used, map(split_of_list, used), strict=True)
        for item in _items(read_json(path)) or []
    ]
    return Listing(tuple(entries), tuple(used), "in none of the Something-Something lists", True)


def _items(content: Any) -> list[Any] | None:
    if not isinstance(content, list) or not content:
        return None
    good = all(
        isinstance(item, dict) and isinstance(item.get("id"), str | int) and isinstance(item.get("template", ""), str)
        for item in content
    )
    return content if good else None
