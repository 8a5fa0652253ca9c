"""Where two videos show the same in the same order: straight lines in the table of similarities of their stretches.

A copy, trimmed, embedded or played faster, shows as a line tb = speed · ta + offset of high similarity.
All lines of speed ½ to 2 are voted for by the pairs above a threshold (Hough); the best is fitted finely, its run is
where similarity less the threshold sums up to most (Kadane), gaps within it forgiven; then it is taken out and the next
is looked for. So a copy with a part cut out of its middle gives two stretches.

Legend: p and q stretches of two videos, M pairs of them above the threshold, S speeds, L lines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SPEEDS = 2.0 ** (np.arange(-16, 17) / 16)
_PREFER = 0.05  # of a vote is lost for every doubling or halving of the speed: what could be either is not faster
_MOST_LINES = 20  # looked at, those that turn out to be too short among them
_AT_ONCE = 2**20  # votes that are counted together
_GAP = 0.5  # a stretch below the threshold costs at most so much of what a good one brings
_FINE = np.array([0, -1, 1, -2, 2, -3, 3, -4, 4]) / 4  # least change first: of equals the first is taken


@dataclass(frozen=True)
class Line:
    """A stretch of one video that shows what a stretch of another shows.

    Attributes:
        a: start and end in the first, seconds.
        b: start and end in the second, seconds.
        speed: seconds of the second for a second of the first.
        score: mean similarity along it.
        stretches: how many of the first lie on it.
    """

    a: tuple[float, float]
    b: tuple[float, float]
    speed: float
    score: float
    stretches: int


@dataclass(frozen=True, eq=False)
class Times:
    """Start and end of a video's stretches, seconds, rising, ``[p]`` each."""

    start: Floats
    end: Floats

    @property
    def middle(self) -> Floats:
        """Middle of each, seconds."""
        return (self.start + self.end) / 2

    @property
    def step(self) -> float:
        """From one to the next, seconds."""
        middle = self.middle
        return float(np.median(np.diff(middle))) if len(middle) > 1 else float(self.end[0] - self.start[0])


def lines(similarity: Floats, a: Times, b: Times, *, threshold: float, least: int = 2) -> list[Line]:
    """Lines of high similarity, best first.

    Args:
        similarity: ``[p, q]``.
        threshold: what unrelated stretches rarely reach.
        least: stretches a line has at least.
    """
    left = similarity.copy()
    found = []
    for _ in range(_MOST_LINES):
        best = _best_line(left, a, b, threshold, least)
        if best is None:
            break
        speed, offset = best
        values = _along(left, a, b, np.array([speed]), np.array([offset]))
        first, last = (int(place[0]) for place in _runs(values, threshold))
        if last - first >= least:
            found.append(_line(values[0, first:last], a, b, first, last, speed, offset))
        # What is too short is taken out, too: it would hide a longer, weaker line.
        _take_out(left, a, b, (speed, offset), slice(first, last) if last > first else slice(None), threshold)
    found.sort(key=lambda line: -line.score * line.stretches)
    return [line for i, line in enumerate(found) if not any(_within(line, better) for better in found[:i])]


def _within(line: Line, better: Line) -> bool:
    """Whether most of a line, on both sides, is where a better one is: an echo of it."""
    shares = []
    for own, other in ((line.a, better.a), (line.b, better.b)):
        shares.append((min(own[1], other[1]) - max(own[0], other[0])) / max(own[1] - own[0], 1e-9))
    return min(shares) > 0.5


def _best_line(similarity: Floats, a: Times, b: Times, threshold: float, least: int) -> tuple[float, float] | None:
    rows, columns = np.nonzero(similarity > threshold)
    if not len(rows):
        return None
    votes = similarity[rows, columns] - threshold
    ta, tb = a.middle[rows], b.middle[columns]
    width = max(a.step, b.step)
    best = (0.0, 1.0, 0.0)
    at_once = max(1, _AT_ONCE // len(rows))
    for speeds in (SPEEDS[i : i + at_once] for i in range(0, len(SPEEDS), at_once)):
        offset_SM = tb - speeds[:, None] * ta
        bins_SM = np.floor((offset_SM - offset_SM.min(axis=1, keepdims=True)) / width * 2).astype(np.int64)
        count = int(bins_SM.max()) + 1
        flat = (bins_SM + count * np.arange(len(speeds))[:, None]).ravel()
        sums = np.bincount(flat, np.tile(votes, len(speeds)), len(speeds) * count).reshape(len(speeds), count)
        voters = np.bincount(flat, minlength=len(speeds) * count).reshape(len(speeds), count)
        preferred_S = (1 - _PREFER * np.abs(np.log2(speeds))) * np.minimum(1.0, 1 / speeds) ** 0.5
        enough = _with_both_sides(voters) >= least  # a single pair that is very alike is no line
        wide = np.where(enough, _with_both_sides(sums), 0) * preferred_S[:, None]
        number, peak = divmod(int(wide.argmax()), count)
        if wide[number, peak] > best[0]:
            near = np.abs(bins_SM[number] - peak) <= 1
            offset = float(np.average(offset_SM[number, near], weights=votes[near]))
            best = (float(wide[number, peak]), float(speeds[number]), offset)
    if not best[0]:
        return None
    finer_L2 = np.array(list(_finer(best[1], best[2], width, a)))
    fits = _fits(similarity, a, b, threshold, finer_L2[:, 0], finer_L2[:, 1])
    speed, offset = finer_L2[fits.argmax()].tolist()
    return speed, offset


def _with_both_sides(bins: NDArray[Any]) -> NDArray[Any]:
    """Each bin and the two beside it, added up."""
    beside = np.pad(bins, ((0, 0), (1, 1)))
    found: NDArray[Any] = beside[:, :-2] + beside[:, 1:-1] + beside[:, 2:]
    return found


def _finer(speed: float, offset: float, width: float, a: Times) -> Iterator[tuple[float, float]]:
    """Lines near one, turned about the middle of the first video."""
    middle = float(a.middle.mean())
    for turn in _FINE:
        for shift in _FINE:
            turned = speed * 2 ** (turn / 16)
            yield turned, offset + (speed - turned) * middle + shift * width
    yield 1.0, offset + (speed - 1) * middle  # what is no faster is exactly so


def _fits(similarity: Floats, a: Times, b: Times, threshold: float, speed_L: Floats, offset_L: Floats) -> Floats:
    """How much lies on each of some lines."""
    values_LP = _along(similarity, a, b, speed_L, offset_L)
    first_L, last_L = _runs(values_LP, threshold)
    place = np.arange(values_LP.shape[1])
    inside = (place >= first_L[:, None]) & (place < last_L[:, None])
    weight_L = np.where(speed_L == 1, 1 + _PREFER / 4, 1 - _PREFER * np.abs(np.log2(speed_L)))
    fits: Floats = np.where(inside, values_LP - threshold, 0).sum(axis=1) * weight_L
    return fits


def _along(similarity: Floats, a: Times, b: Times, speed_L: Floats, offset_L: Floats) -> Floats:
    """Similarity on lines for every stretch of the first video, ``[L, p]``; minus infinity off the second's ends."""
    middle = b.middle
    at = speed_L[:, None] * a.middle + offset_L[:, None]
    place = np.interp(at, middle, np.arange(len(middle)))
    lower = np.minimum(place.astype(np.int64), max(len(middle) - 2, 0))
    upper = np.minimum(lower + 1, len(middle) - 1)
    share, rows = place - lower, np.arange(len(similarity))
    values = similarity[rows, lower] * (1 - share) + similarity[rows, upper] * share
    inside = (at >= middle[0] - b.step / 2) & (at <= middle[-1] + b.step / 2)
    return np.where(inside, values, -np.inf)


def _runs(values_LP: Floats, threshold: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and one past the last of the run whose sum above the threshold is largest, for every line."""
    gains = values_LP - threshold
    good = np.maximum(gains, 0)
    mean_L = good.sum(axis=1) / np.maximum((gains > 0).sum(axis=1), 1)
    floor = np.where(np.isfinite(gains), -_GAP * mean_L[:, None], -1e9)
    sums = np.pad(np.maximum(gains, floor), ((0, 0), (1, 0))).cumsum(axis=1)
    last_L = (sums - np.minimum.accumulate(sums, axis=1)).argmax(axis=1)
    last_L[mean_L == 0] = 0
    first_L = np.where(np.arange(sums.shape[1]) <= last_L[:, None], sums, np.inf).argmin(axis=1)
    return first_L, last_L


def _line(values: Floats, a: Times, b: Times, first: int, last: int, speed: float, offset: float) -> Line:
    begin, end = float(a.start[first]), float(a.end[last - 1])
    other = (speed * begin + offset, speed * end + offset)
    inside = (float(max(other[0], b.start[0])), float(min(other[1], b.end[-1])))
    begin, end = begin + (inside[0] - other[0]) / speed, end + (inside[1] - other[1]) / speed
    return Line((begin, end), inside, speed, float(values[np.isfinite(values)].mean()), last - first)


def _take_out(similarity: Floats, a: Times, b: Times, line: tuple[float, float], rows: slice, threshold: float) -> None:
    at = line[0] * a.middle[rows] + line[1]
    width = 1.5 * max(a.step, b.step) * max(1.0, line[0])
    near = np.abs(b.middle[None] - at[:, None]) <= width
    part = similarity[rows]
    part[near] = np.minimum(part[near], threshold - abs(threshold) - 1)
