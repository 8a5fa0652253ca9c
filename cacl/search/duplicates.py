"""The same recording twice: vectors find candidates, an alignment in time decides, pixels tell copies from like scenes.

Nothing is deleted or moved: what is found is a table. Pixels are looked at in several processes where those are given:
each takes videos that lie beside each other, as takes of one scene do, so that few videos are decoded by two of them.

Legend: n vectors of stretches, v videos.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from queue import SimpleQueue
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cacl.errors import VideoError
from cacl.machine.load import one_thread
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
_NEARLY = 0.95  # of the way from the middle to 1
_NEAREST = 20  # of every stretch, among later videos
_VIDEOS = 20  # looked at more closely, for every video
_WORTH = 100  # pairs: a further process needs some seconds to begin
Pair = tuple[int, int]
Look = Callable[[Pair, Sequence[Line]], list[PixelMatch | VideoError]]
"""What the pixels of two videos say of each line; called by one thread at a time."""


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
    helpers: Sequence[Look] = (),
    decisions: Decisions | None = None,
    skipped: list[VideoError] | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> list[Duplicate]:
    """Every stretch that is in two videos, best first.

    Args:
        archive: the vectors; rows of a video follow each other in time.
        stretches: what they are of.
        scale: what their scores mean.
        frames: reads the few candidates; without it all is ``"likely"``.
        helpers: look at pixels too, beside this process, where there are many pairs.
        decisions: pairs that are known not to be the same.
        skipped: gets what could not be read; such a pair is kept as ``"likely"``.
        progress: called with what is done, how much of it and of how much; may raise to end it.
    """
    floor = _worth_a_look(scale)
    if not np.isfinite(floor):
        return []
    names = stretches.names
    pairs = [
        pair
        for pair in _candidates(archive, stretches, floor, progress)
        if decisions is None or not decisions.not_same(names[pair[0]], names[pair[1]])
    ]
    here = None if frames is None else looking(frames, stretches.lengths)
    looks: list[Look | None] = [here, *helpers[: len(pairs) // _WORTH]]

    def compare(pair: Pair, look: Look | None) -> list[Duplicate | VideoError]:
        aligned = _aligned(archive, stretches, *pair, floor)
        if look is None or not aligned:
            return [_by_vectors((names[pair[0]], names[pair[1]]), line) for line in aligned]
        same: list[Duplicate | VideoError] = []
        for line, match in zip(aligned, look(pair, aligned), strict=True):
            if isinstance(match, VideoError):
                same += [match, _by_vectors((names[pair[0]], names[pair[1]]), line)]
            elif match.kind != "different":
                same.append(_told((names[pair[0]], names[pair[1]]), match))
        return same

    found: dict[Pair, list[Duplicate | VideoError]] = {}
    with contextlib.closing(_side_by_side(compare, pairs, looks)) as compared:
        for pair, same in compared:
            found[pair] = same
            progress("pairs looked at", len(found), len(pairs))
    every = [one for pair in pairs for one in found[pair]]
    if skipped is not None:
        skipped += [one for one in every if isinstance(one, VideoError)]
    duplicates = [one for one in every if isinstance(one, Duplicate)]
    return sorted(duplicates, key=lambda one: (one.kind == "similar scene", one.sure != "sure", -one.score, one.first))


def looking(frames: Frames, lengths: Sequence[float]) -> Look:
    """Looks in this process. Args: ``frames`` reads videos; ``lengths`` of them, seconds."""
    sketches = Sketches(frames, lengths)

    def look(pair: Pair, aligned: Sequence[Line]) -> list[PixelMatch | VideoError]:
        matches: list[PixelMatch | VideoError] = []
        for line in aligned:
            try:
                matches.append(compare_pixels(line, *map(sketches.film, pair)))
            except VideoError as error:
                matches.append(error)
        return matches

    return look


def _side_by_side(
    compare: Callable[[Pair, Look | None], list[Duplicate | VideoError]],
    pairs: Sequence[Pair],
    looks: Sequence[Look | None],
) -> Generator[tuple[Pair, list[Duplicate | VideoError]]]:
    """Each pair compared, by whoever is free: each begins with a share of its own, and ends with what others left."""
    ends = np.linspace(0, len(pairs), len(looks) + 1).round().astype(int).tolist()
    shares = [deque(pairs[first:last]) for first, last in pairwise(ends)]
    done = SimpleQueue[tuple[Pair, list[Duplicate | VideoError]] | BaseException]()
    stopped = threading.Event()

    def work(number: int) -> None:
        try:
            while not stopped.is_set() and (pair := _taken(shares, number)) is not None:
                done.put((pair, compare(pair, looks[number])))
        except BaseException as error:
            done.put(error)

    with one_thread(), ThreadPoolExecutor(len(looks), "cacl-duplicates") as pool:
        try:
            for number in range(len(looks)):
                pool.submit(work, number)
            for _ in pairs:
                result = done.get()
                if isinstance(result, BaseException):
                    raise result
                yield result
        finally:
            stopped.set()


def _worth_a_look(scale: Scale) -> float:
    """A score that unrelated stretches rarely reach.

    In an archive that is full of copies, pairs of different videos are not all unrelated; but those below the median
    are, so their spread says where the others would end. Of a handful of videos that is beyond 1: what is nearly the
    same is looked at whatever it says.
    """
    middle = scale.reached_by(0.5)
    spread = middle + _SPREADS * (middle - scale.reached_by(_BELOW))
    return min(scale.reached_by(_SHARE), spread, middle + _NEARLY * (1 - middle))


def _taken(shares: Sequence[deque[Pair]], number: int) -> Pair | None:
    """The next of one's own share, else the last of the longest."""
    while longest := max(shares, key=len):
        with contextlib.suppress(IndexError):  # somebody else was faster
            return shares[number].popleft() if shares[number] else longest.pop()
    return None


def _by_vectors(names: tuple[str, str], line: Line) -> Duplicate:
    return Duplicate(names[0], line.a, names[1], line.b, "copy", line.score, "likely")


def _told(names: tuple[str, str], match: PixelMatch) -> Duplicate:
    kind: Kind = "similar scene" if match.kind != "copy" else "mirrored copy" if match.mirrored else "copy"
    return Duplicate(names[0], match.a, names[1], match.b, kind, match.score, "sure" if match.sure else "likely")


def _candidates(
    archive: Neighbours, stretches: Stretches, floor: float, progress: Callable[[str, int, int], None]
) -> Iterator[tuple[int, int]]:
    """Pairs of videos that have some stretches in common, each once."""
    count = len(stretches.names)
    for video in range(count):
        progress("videos compared", video, count)
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
    progress("videos compared", count, count)


def _aligned(archive: Neighbours, stretches: Stretches, a: int, b: int, floor: float) -> list[Line]:
    sides = [archive.space.prepared(archive.rows[stretches.rows(v)].astype(np.float64))[0] for v in (a, b)]
    least = min(2, len(sides[0]), len(sides[1]))
    return lines(sides[0] @ sides[1].T, stretches.times(a), stretches.times(b), threshold=floor, least=least)
