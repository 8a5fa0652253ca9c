"""When each frame is shown, in seconds, from what the file says of time.

A frame is shown (t - t₀) · time base seconds after the first, t being its timestamp. Files say less, or what cannot be:
each rule that is followed then has a name, which ``videos.csv`` gives (``Clock.rule``).

Shapes: N frames of one video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Rule = Literal["timestamps", "put in order", "joined", "some missing", "rate", "unknown"]

_DISORDER = 4  # places by which a timestamp may stand wrong; more is another recording, joined on


class Rational(Protocol):
    """A rate or a time base, whatever type a version of PyAV gives it."""

    @property
    def numerator(self) -> int:
        """Above the line."""

    @property
    def denominator(self) -> int:
        """Below it."""


@dataclass(frozen=True, eq=False)
class Clock:
    """The times of one video's frames.

    Attributes:
        seconds: float64 ``[N + 1]``, when each frame is shown and when the last one ends; 0 first, increasing. NaN
            where nothing tells the time.
        rate: mean frames a second over that span; 0 when unknown.
        rule: where they come from. ``"timestamps"``: the file's own. ``"put in order"``: the file's own, which some
            frames had swapped. ``"joined"``: they go back, as where recordings were joined: each goes on where the one
            before it ended. ``"some missing"``: frames without one lie evenly between those that have one.
            ``"rate"``: there are none; evenly, by the rate that the file states. ``"unknown"``: nor that.
    """

    seconds: NDArray[np.float64]
    rate: float
    rule: Rule


def fraction(value: Rational | None) -> Fraction | None:
    """A rate or time base above 0; ``None`` for one that is missing, which PyAV says as ``None``, 0/1 or 0/0."""
    if value is None or not value.denominator or value.numerator * value.denominator <= 0:
        return None
    return Fraction(value.numerator, value.denominator)


def clock_of(
    times: Sequence[int | None],
    durations: Sequence[int],
    *,
    time_base: Fraction | None,
    rates: Sequence[Fraction | None],
) -> Clock:
    """The clock of frames in the order in which they are shown.

    Args:
        times: timestamp of each of the N frames, N at least 1.
        durations: how long each is to be shown, as stated; 0 where nothing is. All in units of ``time_base``.
        time_base: seconds a unit; ``None`` when unknown.
        rates: what the file states as its rate, the most trustworthy first.
    """
    count = len(times)
    stated = next((rate for rate in rates if rate is not None), None)
    ticks, rule = _ticks(times)
    if ticks is None or time_base is None:
        if stated is None:
            return Clock(np.full(count + 1, np.nan), 0.0, "unknown")
        return Clock(np.arange(count + 1) / float(stated), float(stated), "rate")
    last = _last_duration(ticks, durations)
    if last <= 0:
        last = float(1 / (stated * time_base)) if stated is not None else np.nan
    ends = np.append(ticks, ticks[-1] + last)
    seconds = ends * time_base.numerator / time_base.denominator
    return Clock(seconds, _rate(ends, time_base, [rate for rate in rates if rate is not None]), rule)


def rate_between(clock: Clock, first: int, count: int) -> float:
    """Mean frames a second of ``count`` frames, 1 or more, from number ``first`` on; 0 when unknown."""
    span = clock.seconds[first + count] - clock.seconds[first]
    if not span > 0:
        return 0.0
    same = clock.rate > 0 and abs(count / clock.rate - span) < 0.0015  # but for times rounded to milliseconds
    return clock.rate if same else float(count / span)


def frames_between(seconds: NDArray[np.float64], start: float, end: float | None) -> tuple[int, int]:
    """The frames shown from ``start`` to before ``end`` (None: the last one's end): number of the first, and count.

    Args:
        seconds: of a clock; where nothing tells the time, frames are counted at 25 a second.
    """
    starts = seconds[:-1] if np.isfinite(seconds[0]) else np.arange(len(seconds) - 1) / 25.0
    half = 5e-7  # "0.04" is meant to include the frame at 0.0399999
    first = int(np.searchsorted(starts, start - half))
    last = len(starts) if end is None else int(np.searchsorted(starts, end - half))
    return first, max(last - first, 0)


def _ticks(times: Sequence[int | None]) -> tuple[NDArray[np.float64] | None, Rule]:
    """Time of each frame after the first, increasing, and how it was found; ``None`` where no frame has one."""
    known = np.array([i for i, t in enumerate(times) if t is not None], np.int64)
    if not len(known):
        return None, "rate"
    stamps = np.array([t for t in times if t is not None], np.int64)
    rule: Rule = "timestamps" if len(known) == len(times) else "some missing"
    if np.any(stamps[1:] < stamps[:-1]) and _swapped(known, stamps):
        stamps, rule = np.sort(stamps), "put in order"
    pieces = np.split(np.arange(len(known)), np.flatnonzero(stamps[1:] < stamps[:-1]) + 1)
    if len(pieces) > 1:
        rule = "joined"
    gap = _frame_gap(known, stamps)
    ticks = np.empty(len(times), np.float64)
    begins, at = 0, 0.0
    for number, piece in enumerate(pieces):
        # Frames before the first timestamp of all belong to the first piece, others to the piece that they follow.
        stop = len(times) if number + 1 == len(pieces) else int(known[pieces[number + 1][0]])
        ticks[begins:stop] = at + _spread(known[piece] - begins, stamps[piece], stop - begins, gap)
        begins, at = stop, ticks[stop - 1] + gap
    if len(set(stamps.tolist())) < len(stamps) and rule == "timestamps":
        rule = "some missing"
    return ticks, rule


def _spread(places: NDArray[np.int64], stamps: NDArray[np.int64], count: int, gap: float) -> NDArray[np.float64]:
    """Times of ``count`` frames, of which those at ``places`` have stamps (of equal ones the first), 0 first."""
    distinct = np.concatenate([[True], stamps[1:] > stamps[:-1]])
    places, exact = places[distinct], stamps[distinct]
    values = (exact - exact[0]).astype(np.float64)
    index = np.arange(count)
    out = np.interp(index, places, values)
    out = np.where(index < places[0], values[0] + (index - places[0]) * gap, out)
    out = np.where(index > places[-1], values[-1] + (index - places[-1]) * gap, out)
    return np.asarray(out - out[0], np.float64)


def _frame_gap(known: NDArray[np.int64], stamps: NDArray[np.int64]) -> float:
    """Median time from one frame to the next, where time goes forward."""
    gaps = np.diff(stamps) / np.diff(known)
    return float(np.median(gaps[gaps > 0])) if np.any(gaps > 0) else 1.0


def _swapped(known: NDArray[np.int64], stamps: NDArray[np.int64]) -> bool:
    """Whether timestamps stand a few places from where they belong, and do not begin anew."""
    order = np.argsort(stamps, kind="stable")
    near = bool(np.all(np.abs(order - np.arange(len(stamps))) <= _DISORDER))
    apart = np.diff(stamps[order]) > _frame_gap(known, stamps) / 2
    return near and bool(np.all(apart))  # two recordings would lie between one another


def _last_duration(ticks: NDArray[np.float64], durations: Sequence[int]) -> float:
    """How long the last frame is shown: as stated, where stated durations are those of the frames; else the median."""
    gaps = np.diff(ticks)
    if not len(gaps):
        return float(durations[-1])
    stated = np.array(durations[:-1], np.float64)
    believed = np.count_nonzero(np.abs(stated - gaps) <= np.maximum(1.5, gaps / 100)) * 2 >= len(gaps)
    return float(durations[-1]) if believed and durations[-1] > 0 else float(np.median(gaps))


def _rate(ends: NDArray[np.float64], time_base: Fraction, rates: Sequence[Fraction]) -> float:
    """Frames over seconds; a stated rate exactly, where all timestamps are that rate but for rounding."""
    count = len(ends) - 1
    if not np.isfinite(ends[-1]) or ends[-1] <= 0:
        return 0.0
    for rate in rates:
        even = np.arange(count + 1) * float(1 / (rate * time_base))
        if np.all(np.abs(even - ends) <= 1.01):
            return float(rate)
    whole = Fraction(ends[-1]).limit_denominator(2)  # ticks are whole numbers, or halves of a median
    return float(count / (whole * time_base))
