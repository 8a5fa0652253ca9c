"""Indexes without files: vectors that are told, in videos of equally many stretches of 2 s."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError
from cacl.indexing.generation import IndexedVideo, Spans
from cacl.search.space import Space


@dataclass
class ToldIndex:
    """As much of ``cacl.Index`` as labels need."""

    path: Path
    vectors: NDArray[np.float32]
    videos: tuple[IndexedVideo, ...]
    spans: Spans
    space: Space
    about: dict[str, Any]

    def rows(self, path: str, start: float = 0.0, end: float | None = None) -> NDArray[np.int64]:
        number = [video.path for video in self.videos].index(path)
        own = np.flatnonzero(self.spans.video == number)
        seconds = self.spans.seconds[own]
        if start >= seconds.max():
            raise UserError("beyond the end")
        middle = seconds.mean(axis=1)
        return own[(middle >= start) & (middle < (np.inf if end is None else end))]


def told_index(vectors: NDArray[np.float64], *, videos: int) -> Any:
    each = len(vectors) // videos
    start = 2.0 * np.tile(np.arange(each), videos)
    spans = Spans(
        np.repeat(np.arange(videos), each), np.zeros((len(vectors), 2), np.int64), np.stack([start, start + 2], 1)
    )
    listed = tuple(
        IndexedVideo(f"v{n:02}.mp4", None, None, 2.0 * each, 10, 4, 4, False, n * each, each, f"{n:032x}")
        for n in range(videos)
    )
    rows = vectors.astype(np.float32)
    return ToldIndex(Path("my.index"), rows, listed, spans, Space.fit(rows), {"weights": "f" * 64})
