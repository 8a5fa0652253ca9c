"""Lists that the page shows: videos by name, labels with what has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cacl.exploring.labels import Stretch
from cacl.indexing.generation import IndexedVideo
from cacl.serving.current import View


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
    groups: dict[str, list[dict[str, Any]]] = {}
    elsewhere = 0
    for stretch, label in labels.items():
        if stretch.path not in view.parts_of:
            elsewhere += 1
            continue
        video = view.part(stretch.path, stretch.start, stretch.end)
        groups.setdefault(label, []).append(
            {**view.facts(video), "start": stretch.start, "end": stretch.end, "n": _middle(view, video, stretch)}
        )
    found = [{"label": label, "stretches": groups[label]} for label in sorted(groups)]
    return {"labels": found, "elsewhere": elsewhere}


def _middle(view: View, video: IndexedVideo, stretch: Stretch) -> int:
    """Number of the vector in the middle of a stretch, within its video."""
    if stretch.start is None or stretch.end is None:
        return video.rows // 2
    seconds = view.index.spans.seconds[video.first_row : video.first_row + video.rows]
    distance = abs(seconds.mean(axis=1) - (stretch.start + stretch.end) / 2)
    return int(distance.argmin())
