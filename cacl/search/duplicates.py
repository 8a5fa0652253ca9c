"""The same recording twice: vectors find candidates, an alignment in time decides, pixels tell copies from like scenes.

Nothing is deleted or moved: what is found is a table.

Legend: n vectors of stretches, v videos.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cacl.ahead import in_order
from cacl.errors import VideoError
from cacl.machine.load import usable_processors
from cacl.search.alignment import Line, Times, lines
from cacl.search.decisions import Decisions
from cacl.search.neighbours import Neighbours
from cacl.search.same_pixels import PixelMatch, compare_pixels
from cacl.search.score import Scale
from cacl.search.sketches import Floats, Frames, Sketches

Kind = Literal["copy", "mirrored copy", "similar scene"]
Sure = Literal["sure", "likely"]
_SHARE = 0.99  # of unrelated pairs lie below what is worth a look
_BELOW, _SPREADS = 0.159, 2.33  # one standard deviation below the median; of a normal distribution, 99 % lie below this
_NEAREST = 20  # of every stretch, among later videos
_VIDEOS = 20  # looked at more closely, for every video


@dataclass(frozen=True, eq=False)
class Stretches:
    """Which part of which video every vector is of.

    Attributes:
        video: number of the video, rising, int64 ``[n]``.
        start: seconds, ``[n]``, rising within a video.
        end: seconds, ``[n]``.
        names: of the videos, v.
        lengths: of the videos, seconds, v.
    """

    video: NDArray[np.int64]
    start: Floats
    end: Floats
    names: Sequence[str]
    lengths: Sequence[float]

    def rows(self, video: int) -> slice:
        """Which vectors are of a video."""
        first, last = np.searchsorted(self.video, [video, video + 1]).tolist()
        return slice(first, last)

    def times(self, video: int) -> Times:
        """Start and end of a video's stretches."""
        rows = self.rows(video)
        return Times(self.start[rows], self.end[rows])


@dataclass(frozen=True)
class Duplicate:
    """Two stretches that show the same; a row of the table.

    Attributes:
        first: name of one video.
        a: start and end in it, seconds.
        second: name of the other.
        b: start and end in it, seconds.
        kind: a copy, one turned left to right, or the same place at another time.
        score: agreement of what moves, -1 to 1; of the vectors where no pixels were looked at.
        sure: ``"likely"`` wherever no pixels were looked at.
    """

    first: str
    a: tuple[float, float]
    second: str
    b: tuple[float, float]
    kind: Kind
    score: float
    sure: Sure


def find_duplicates(
    archive: Neighbours,
    stretches: Stretches,
    scale: Scale,
    *,
    frames: Frames | None = None,
    decisions: Decisions | None = None,
    skipped: list[VideoError] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Duplicate]:
    """Every stretch that is in two videos, best first.

    Args:
        archive: the vectors; rows of a video follow each other in time.
        stretches: what they are of.
        scale: what their scores mean.
        frames: reads the few candidates; without it all is ``"likely"``.
        decisions: pairs that are known not to be the same.
        skipped: gets what could not be read; such a pair is kept as ``"likely"``.
        progress: called with the number of videos that were compared with all later ones; may raise to end it.
    """
    floor = _worth_a_look(scale)
    found: list[Duplicate] = []
    if not np.isfinite(floor):
        return found
    sketches = None if frames is None else Sketches(frames, stretches.lengths)
    names = stretches.names

    def compare(pair: tuple[int, int]) -> tuple[list[Duplicate], list[VideoError]]:
        same: list[Duplicate] = []
        unread: list[VideoError] = []
        for line in _aligned(archive, stretches, *pair, floor):
            match = None
            if sketches is not None:
                try:
                    match = compare_pixels(line, *map(sketches.film, pair))
                except VideoError as error:
                    unread.append(error)
            if match is None:
                same.append(Duplicate(names[pair[0]], line.a, names[pair[1]], line.b, "copy", line.score, "likely"))
            elif match.kind != "different":
                same.append(_told((names[pair[0]], names[pair[1]]), match))
        return same, unread

    pairs = _candidates(archive, stretches, floor, progress)
    asked = (pair for pair in pairs if decisions is None or not decisions.not_same(names[pair[0]], names[pair[1]]))
    for same, unread in in_order(compare, asked, threads=len(usable_processors())):
        found += same
        if skipped is not None:
            skipped += unread
    return sorted(found, key=lambda one: (one.kind == "similar scene", one.sure != "sure", -one.score, one.first))


def _worth_a_look(scale: Scale) -> float:
    """A score that unrelated stretches rarely reach.

    In an archive that is full of copies, pairs of different videos are not all unrelated; but those below the median
    are, so their spread says where the others would end.
    """
    middle = scale.reached_by(0.5)
    return min(scale.reached_by(_SHARE), middle + _SPREADS * (middle - scale.reached_by(_BELOW)))


def _told(names: tuple[str, str], match: PixelMatch) -> Duplicate:
    kind: Kind = "similar scene" if match.kind != "copy" else "mirrored copy" if match.mirrored else "copy"
    return Duplicate(names[0], match.a, names[1], match.b, kind, match.score, "sure" if match.sure else "likely")


def _candidates(
    archive: Neighbours, stretches: Stretches, floor: float, progress: Callable[[int], None]
) -> Iterator[tuple[int, int]]:
    """Pairs of videos that have some stretches in common, each once."""
    for video in range(len(stretches.names)):
        progress(video)
        rows = stretches.rows(video)
        later = stretches.video > video
        if rows.start == rows.stop or not later.any():
            continue
        z = archive.space.prepared(archive.rows[rows].astype(np.float64))[0]
        votes: dict[int, list[float]] = {}
        for near in archive.along(z, _NEAREST, floor=floor, within=later):
            best: dict[int, float] = {}
            for other, score in zip(stretches.video[near.rows].tolist(), near.scores.tolist(), strict=True):
                best[other] = max(best.get(other, floor), score)
            for other, score in best.items():
                votes.setdefault(other, []).append(score - floor)
        for other in sorted(votes, key=lambda number: -sum(votes[number]))[:_VIDEOS]:
            own = stretches.rows(other)
            if len(votes[other]) >= min(2, rows.stop - rows.start, own.stop - own.start):
                yield video, other


def _aligned(archive: Neighbours, stretches: Stretches, a: int, b: int, floor: float) -> list[Line]:
    sides = [archive.space.prepared(archive.rows[stretches.rows(v)].astype(np.float64))[0] for v in (a, b)]
    least = min(2, len(sides[0]), len(sides[1]))
    return lines(sides[0] @ sides[1].T, stretches.times(a), stretches.times(b), threshold=floor, least=least)
