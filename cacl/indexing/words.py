"""Hits and duplicates as they are printed: lines for people, objects of a stable schema for programs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from cacl.indexing.hits import Hit
from cacl.indexing.reader import Index

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


def _time(seconds: float) -> str:
    """``12.5 s``, ``1:02.5``."""
    if math.isnan(seconds):
        return "?"
    tenths = round(10 * seconds)
    minutes, rest = divmod(tenths, 600)
    return f"{minutes}:{rest // 10:02d}.{rest % 10}" if minutes else f"{rest / 10:.1f} s"
