"""What a search is asked with: a file, a part of one, or a part of a video of the index: ``b12.mp4@12.5-15``.

Shapes: p stretches of a video.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cacl.errors import UserError

_PART = re.compile(r"(.+)@([\d:.]+)-([\d:.]+)", re.DOTALL)
_PREFIX = "index:"


@dataclass(frozen=True)
class Part:
    """A stretch of a video.

    Attributes:
        path: a file; of an indexed one as the index names it.
        indexed: whether it is a video of the index.
        start: seconds.
        end: seconds, ``None``: to the end.
    """

    path: str
    indexed: bool = False
    start: float = 0.0
    end: float | None = None

    def __str__(self) -> str:
        part = (
            "" if self.end is None and not self.start else f"@{self.start:g}-{'' if self.end is None else self.end:g}"
        )
        return f"{_PREFIX * self.indexed}{self.path}{part}"


def part_of(text: str, *, index: Path) -> Part:
    """Read a query.

    Args:
        text: ``FILE``, ``FILE@12.5-15`` (seconds, or ``1:02.5-1:05``), and both with ``index:`` or the index's own name
            and a colon before it for a video of the index.
        index: where the index is.

    Raises:
        UserError: times that are none.
    """
    indexed = False
    for prefix in (_PREFIX, _PREFIX.upper(), f"{index}:"):
        if text.startswith(prefix) and not os.path.exists(text):
            text, indexed = text.removeprefix(prefix), True
            break
    found = _PART.fullmatch(text)
    if found is None or (not indexed and os.path.exists(text)):  # an @ may be in a name
        return Part(text, indexed)
    start, end = _seconds(found[2], text), _seconds(found[3], text)
    if end <= start:
        raise UserError(f"{text}: the part ends at {end:g} s, before it begins ({start:g} s); write @START-END.")
    return Part(found[1], indexed, start, end)


def inside(seconds: NDArray[np.float64], path: str, start: float, end: float | None) -> NDArray[np.int64]:
    """Which stretches of a video are in a part of it, by their middles; where none is, the nearest one.

    Args:
        seconds: start and end of each, ``[p, 2]``; where one is NaN, all are.
        path: of the video.
        start: of the part, seconds.
        end: of the part, ``None``: the video's.

    Raises:
        UserError: the part is beyond the end.
    """
    if (not start and end is None) or np.isnan(seconds).any():
        return np.arange(len(seconds))
    last = float(seconds[:, 1].max())
    if start >= last:
        raise UserError(f"{path} ends at {last:.1f} s, the part begins at {start:g} s: name one within it.")
    end = last if end is None else min(end, last)
    middle = seconds.mean(axis=1)
    chosen = np.flatnonzero((middle >= start) & (middle < end))
    return chosen if len(chosen) else np.array([np.abs(middle - (start + end) / 2).argmin()])


def _seconds(text: str, whole: str) -> float:
    """``12.5`` or ``1:02.5``."""
    try:
        *large, last = text.split(":")
        if len(large) > 2:
            raise ValueError
        seconds = float(last)
        for power, part in enumerate(reversed(large), 1):
            seconds += int(part) * 60.0**power
        return seconds
    except (ValueError, OverflowError):
        raise UserError(f"{whole}: {text} is no time; write seconds, @12.5-15, or minutes, @1:02-1:05.") from None
