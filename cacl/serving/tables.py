"""Lists that the page shows: videos by name, labels with what has them, and tables to take away."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from cacl.indexing.words import COLUMNS
from cacl.serving.current import View
from cacl.serving.labels import Stretch


def listed(view: View, name: str, k: int) -> dict[str, Any]:
    """The first ``k`` videos whose path or label has every word of ``name`` in it, and how many there are."""
    words = name.lower().split()
    found = [
        video
        for video in view.index.videos
        if all(word in f"{video.path} {video.label or ''}".lower() for word in words)
    ]
    return {"total": len(found), "videos": [view.facts(video) for video in found[:k]]}


def labelled(view: View, labels: Mapping[Stretch, str]) -> dict[str, Any]:
    """All labels with their stretches; how many are of videos that this index has not."""
    keys: dict[str, str] = {}
    for video in view.index.videos:
        keys.setdefault(video.path, video.key)
    groups: dict[str, list[dict[str, Any]]] = {}
    elsewhere = 0
    for stretch, label in labels.items():
        key = keys.get(stretch.path)
        if key is None:
            elsewhere += 1
            continue
        video = view.video(key)
        groups.setdefault(label, []).append(
            {**view.facts(video), "start": stretch.start, "end": stretch.end, "n": _middle(view, key, stretch)}
        )
    found = [{"label": label, "stretches": groups[label]} for label in sorted(groups)]
    return {"labels": found, "elsewhere": elsewhere}


def _middle(view: View, key: str, stretch: Stretch) -> int:
    """Number of the vector in the middle of a stretch, within its video."""
    video = view.video(key)
    if stretch.start is None or stretch.end is None:
        return video.rows // 2
    seconds = view.index.spans.seconds[video.first_row : video.first_row + video.rows]
    distance = abs(seconds.mean(axis=1) - (stretch.start + stretch.end) / 2)
    return int(distance.argmin())


def as_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Duplicates as a table; bytes of names that are no text stay as they are."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8", "surrogateescape")
