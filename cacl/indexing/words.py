"""Hits and duplicates as they are printed: lines for people, objects of a stable schema for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from cacl.indexing.hits import Hit

if TYPE_CHECKING:
    from cacl.indexing.reader import Index
    from cacl.search.duplicates import Duplicate

_COLUMNS = (
    "path", "start_s", "end_s", "other_path", "other_start_s", "other_end_s", "kind", "score", "sure",
)  # fmt: skip
FORMAT = 1  # of the JSON; docs/search.md has its schema


def hits_as_lines(hits: Sequence[Hit]) -> Iterator[str]:
    """A line for each hit: score, the stretch, the best moment, the file, what the score means."""
    width = max((len(hit.path) for hit in hits), default=0)
    for hit in hits:
        stretch = f"{_time(hit.start_s)} - {_time(hit.end_s)}"
        label = f"  [{hit.label}]" if hit.label else ""
        absent = "  (absent)" if hit.absent else ""
        best = f"best at {_time(hit.best_s)}"
        yield f"{hit.score:6.3f}  {stretch:>19}  {hit.path:<{width}}  {best}, {hit.words}{label}{absent}"


def hits_as_json(index: Index, hits: Sequence[Hit], like: Sequence[str], unlike: Sequence[str]) -> dict[str, Any]:
    """The answer of a search."""
    return {
        "format": FORMAT,
        "index": str(index.path),
        "root": str(index.root),
        "like": list(like),
        "unlike": list(unlike),
        "hits": [{"rank": rank, **hit.to_json()} for rank, hit in enumerate(hits, 1)],
    }


def duplicates_as_lines(found: Sequence[Duplicate]) -> Iterator[str]:
    """A line for each: one stretch, the other, what they are, how alike."""
    first_width, second_width = (max(map(len, names), default=0) for names in _names(found))
    for one in found:
        first = f"{one.first:<{first_width}}  {_time(one.a[0]):>8} - {_time(one.a[1]):<8}"
        second = f"{one.second:<{second_width}}  {_time(one.b[0]):>8} - {_time(one.b[1]):<8}"
        yield f"{first}  {second}  {one.kind}, {one.sure}  {one.score:.2f}"


def _names(found: Sequence[Duplicate]) -> tuple[list[str], list[str]]:
    return [one.first for one in found], [one.second for one in found]


def duplicates_as_rows(found: Sequence[Duplicate]) -> list[dict[str, Any]]:
    """The table, for CSV and JSON."""
    return [
        {
            "path": one.first,
            "start_s": round(one.a[0], 3),
            "end_s": round(one.a[1], 3),
            "other_path": one.second,
            "other_start_s": round(one.b[0], 3),
            "other_end_s": round(one.b[1], 3),
            "kind": one.kind,
            "score": round(one.score, 4),
            "sure": one.sure == "sure",
        }
        for one in found
    ]


def duplicates_as_csv(found: Sequence[Duplicate]) -> str:
    """The table as CSV; bytes of names that are no text stay as they are, as surrogates."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(duplicates_as_rows(found))
    return text.getvalue()


def duplicates_as_json(index: Index, found: Sequence[Duplicate]) -> dict[str, Any]:
    """The answer of a look for duplicates."""
    rows = duplicates_as_rows(found)
    return {"format": FORMAT, "index": str(index.path), "root": str(index.root), "duplicates": rows}


def _time(seconds: float) -> str:
    """``12.5 s``, ``1:02.5``."""
    if math.isnan(seconds):
        return "?"
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    return f"{minutes}:{rest // 10:02d}.{rest % 10}" if minutes else f"{rest / 10:.1f} s"
