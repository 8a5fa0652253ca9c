"""Stretches for the page: what one vector is of, and many vectors as as few stretches as they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cacl.exploring.classes import Classes, Told
from cacl.serving.current import View

MOST = 1000  # that are answered at once

Known = tuple[Classes, Told] | None


def stretch(view: View, row: int, known: Known) -> dict[str, Any]:
    """One vector's stretch: its video, times, and what it is taken for."""
    return _facts(view, row, row, known)


def class_of(row: int, known: Known) -> dict[str, Any]:
    """What a stretch is taken for; both ``None`` where there are no classes."""
    if known is None:
        return {"class": None, "probability": None}
    classes, told = known
    return {"class": classes.names[int(told.best[row])], "probability": round(float(told.probability[row]), 4)}


def stretches(view: View, rows: Sequence[int], known: Known) -> list[dict[str, Any]]:
    """Vectors that follow each other in one video are one stretch; the first ``MOST`` of them.

    Raises:
        ValueError: a number that is of no vector.
    """
    chosen: NDArray[np.int64] = np.unique(np.asarray(rows, np.int64))
    if len(chosen) and not 0 <= chosen[0] <= chosen[-1] < len(view.index.vectors):
        raise ValueError("no such row")
    video = view.index.spans.video[chosen]
    begins = np.flatnonzero((np.diff(chosen, prepend=-2) > 1) | (np.diff(video, prepend=-1) != 0))
    ends = np.append(begins[1:], len(chosen)) - 1
    pairs = zip(chosen[begins].tolist(), chosen[ends].tolist(), strict=True)
    return [_facts(view, first, last, known) for first, last in list(pairs)[:MOST]]


def _facts(view: View, first: int, last: int, known: Known) -> dict[str, Any]:
    video = view.index.videos[int(view.index.spans.video[first])]
    start, end = float(view.index.spans.seconds[first, 0]), float(view.index.spans.seconds[last, 1])
    middle = (first + last) // 2
    unknown = np.isnan(start) or np.isnan(end)
    return {
        **view.facts(video),
        "n": middle - video.first_row,
        "start": None if unknown else round(start, 3),
        "end": None if unknown else round(end, 3),
        **class_of(middle, known),
    }
