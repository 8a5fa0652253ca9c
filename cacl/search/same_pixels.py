"""A copy or a similar scene: whether two aligned stretches show the same pixels move in the same way.

Two takes of one scene share everything that stays; what moves in them moves otherwise. So the second stretch is laid
over the first (register.py), the mean picture is taken out of both, and what is left of every frame of the first is
compared with frames of the second about where the alignment says they are. A copy agrees along one line in time, and
that line is finer than the one from vectors: it also says where the copy begins and ends. All of that is done with
small pictures (sketches.py). What agrees so far is looked at more closely (closer_look.py), for at so few pixels two
people who do the same before one camera agree, too.

Legend: T moments of the first stretch, K moments of the second for each, H height, W width, C = 3 colours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cacl.search.alignment import Line, Times, lines
from cacl.search.closer_look import COPY, Side, look_closer
from cacl.search.register import HEIGHT, Registration, Window, cut, overlap, register, without_bars
from cacl.search.sketches import RATE, Film, Floats

Kind = Literal["copy", "similar scene", "different"]
ROUGHLY = 0.45  # agreement of what moves, at few pixels: below, no closer look; copies with a logo reach .7
SCENE = 0.35  # agreement of edges of pictures that show the same place
_STILL = 1.0  # grey levels, standard deviation over time: below, nothing moves and no takes can be told apart
_INNER, _ENDS, _STEP = 24, 5, 0.25  # moments between the ends, and steps to each side of an end
_AROUND = np.linspace(-0.75, 0.75, 13)  # seconds by which the alignment may be wrong
_TURNS = np.linspace(-0.04, 0.04, 9)  # of the speed
_PAIRS = 6
_SIDE = 24
_BESIDE, _LONGEST, _FEWEST = 5.0, 40.0, 6  # seconds about an alignment, and pictures, by which another is looked for
_FOR_BARS = 32  # pictures in which bars are looked for


@dataclass(frozen=True)
class PixelMatch:
    """What the pixels say.

    Attributes:
        kind: a copy, a similar scene (another take, or nothing that moves), or neither.
        score: agreement of what moves, -1 to 1; of the closer look where there was one.
        picture: agreement of edges, -1 to 1.
        mirrored: whether one is turned left to right.
        a: start and end in the first, seconds.
        b: start and end in the second, seconds.
        speed: seconds of the second for a second of the first.
        sure: a copy that no other take could be.
    """

    kind: Kind
    score: float
    picture: float
    mirrored: bool
    a: tuple[float, float]
    b: tuple[float, float]
    speed: float
    sure: bool = False


def compare_pixels(line: Line, first: Film, second: Film) -> PixelMatch:
    """Look at the pixels of two aligned stretches.

    Args:
        line: how they are aligned.
        first: the first video.
        second: the second.

    Raises:
        VideoError: one of them cannot be read.
    """
    match, found = _compared(line, first, second)
    if found is None or match.kind == "different" or match.sure:
        return match
    other = _by_what_moves(line, first, second, found)
    again = match if other is None else _compared(other, first, second)[0]
    return again if again.kind == "copy" and (again.sure, again.score) > (match.sure, match.score) else match


def _compared(line: Line, first: Film, second: Film) -> tuple[PixelMatch, Registration | None]:
    offset = line.b[0] - line.speed * line.a[0]
    times = _moments(line, first.length, second.length, offset)
    around = np.clip(line.speed * times[:, None] + offset + _AROUND, 0, second.length)
    wanted, flat = np.unique((around * RATE).round(), return_inverse=True)
    back = flat.reshape(around.shape)
    inner = np.flatnonzero((times > line.a[0] - 1 / RATE) & (times < line.a[1] + 1 / RATE))
    mine, other = (torch.from_numpy(part).float() for part in (first.sketches(times), second.sketches(wanted / RATE)))
    films = ((first, mine), (second, other))
    sides = [Side(film.frames, _window(part), film.length - 1e-3) for film, part in films]
    ours, theirs = cut(mine, HEIGHT, sides[0].window), cut(other, HEIGHT, sides[1].window)
    laid = _laid(ours, theirs, back, times, inner, np.zeros(len(times)))
    if laid is not None:  # once more, at the moments that this says are the same
        laid = _laid(ours, theirs, back, times, inner, laid.shift + laid.turn * (times - times[inner].mean()))
    if laid is None:
        return PixelMatch("different", 0.0, 0.0, False, line.a, line.b, line.speed), None
    found, score = laid.found, float(np.median(laid.values[inner]))
    speed, offset = line.speed + laid.turn, offset + laid.shift - laid.turn * float(times[inner].mean())
    if score >= ROUGHLY and laid.moving:
        a, b = _stretches(times, laid.values, line, speed, offset, (first.length, second.length))
        agreement = look_closer(sides[0], sides[1], found, a=a, speed=speed, offset=offset)
        score = agreement.half
        if score >= COPY:
            return PixelMatch("copy", score, found.agreement, found.mirrored, a, b, speed, agreement.sure), found
    kind: Kind = "similar scene" if found.agreement >= SCENE else "different"
    return PixelMatch(kind, score, found.agreement, found.mirrored, line.a, line.b, line.speed), found


def _by_what_moves(line: Line, first: Film, second: Film, found: Registration) -> Line | None:
    """Another alignment, of what moves: vectors of one place may be alike whatever happens there, and align nothing."""
    times, moved = [], []
    for film, (start, end) in ((first, line.a), (second, line.b)):
        start = max(0.0, start - _BESIDE)
        when = np.arange(start, min(film.length, end + _BESIDE, start + _LONGEST), 2 / RATE)
        times.append(Times(when, when + 2 / RATE))
        moved.append(torch.from_numpy(film.sketches(when)).float())
    ours, theirs = (cut(part, HEIGHT, _window(part)) for part in moved)
    units = []
    for part in overlap(ours, theirs, found, _SIDE):
        moves = (part - part.mean(dim=0)).flatten(1)
        moves = moves - moves.mean(dim=1, keepdim=True)
        units.append(moves / moves.norm(dim=1, keepdim=True).clamp_min(1e-6))
    alike = (units[0] @ units[1].T).double().numpy()
    return next(iter(lines(alike, *times, threshold=ROUGHLY, least=_FEWEST)), None)


class _Laid(NamedTuple):
    """The second stretch over the first: how it lies, whether anything moves, and how that agrees in time."""

    found: Registration
    moving: bool
    shift: float
    turn: float
    values: Floats


def _laid(
    ours: Tensor, theirs: Tensor, back: NDArray[np.int64], times: Floats, inner: NDArray[np.int64], late: Floats
) -> _Laid | None:
    """``late``: by how many seconds the alignment is wrong at each of the times. None: they show different places."""
    chosen = inner[np.linspace(0, len(inner) - 1, min(_PAIRS, len(inner))).round().astype(int)]
    column = np.abs(late[chosen, None] - _AROUND).argmin(axis=1)
    found = register(ours[chosen], theirs[back[chosen, column]])
    if found is None:
        return None
    agreement, moving = _agreement(*overlap(ours, theirs, found, _SIDE), back, inner)
    return _Laid(found, moving, *_refined(agreement, times, inner))


def _window(sketches_THW: Tensor) -> Window:
    return without_bars(sketches_THW[:: -(-len(sketches_THW) // _FOR_BARS)])


def _stretches(
    times: Floats, values: Floats, line: Line, speed: float, offset: float, lengths: tuple[float, float]
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Start and end of what agrees, seconds, in the first and in the second."""
    other_times = speed * times + offset
    values = np.where((other_times >= 0) & (other_times <= lengths[1]), values, -1.0)
    span = sorted(((0 - offset) / speed, (lengths[1] - offset) / speed))
    begin, end = np.clip(_ends(times, values, line), max(0.0, span[0]), min(lengths[0], span[1])).tolist()
    b = np.clip([speed * begin + offset, speed * end + offset], 0, lengths[1]).tolist()
    return (begin, end), (b[0], b[1])


def _moments(line: Line, length_a: float, length_b: float, offset: float) -> Floats:
    """When the first video is looked at: between the ends, and finely about them."""
    inner = np.linspace(*line.a, _INNER + 2)[1:-1]
    ends = [end + np.arange(-_ENDS, _ENDS + 1) * _STEP for end in line.a]
    times = np.unique((np.concatenate([inner, *ends]) * RATE).round()) / RATE
    other = line.speed * times + offset
    inside = (times >= 0) & (times < length_a) & (other >= -_AROUND[-1]) & (other < length_b + _AROUND[-1])
    kept: Floats = times[inside]
    return kept if ((kept > line.a[0] - 1 / RATE) & (kept < line.a[1] + 1 / RATE)).any() else np.array([line.a[0]])


def _agreement(mine: Tensor, other: Tensor, back: NDArray[np.int64], inner: NDArray[np.int64]) -> tuple[Floats, bool]:
    """Of what moves, ``[T, K]``, and whether anything does."""
    pictures = [mine, other]
    stay = [mine[inner].mean(dim=0), other[np.unique(back[inner])].mean(dim=0)]
    moved = [(picture - still).flatten(1) for picture, still in zip(pictures, stay, strict=True)]
    moved = [part - part.mean(dim=1, keepdim=True) for part in moved]  # light that changes is no motion
    moving = all(float(part.std()) >= _STILL for part in moved)
    unit = [part / part.norm(dim=1, keepdim=True).clamp_min(1e-6) for part in moved]
    return torch.einsum("tp,tkp->tk", unit[0], unit[1][back]).double().numpy(), moving


def _refined(agreement: Floats, times: Floats, inner: NDArray[np.int64]) -> tuple[float, float, Floats]:
    """By how many seconds, and by how much of the speed, the alignment is put right; agreement along it, ``[T]``."""
    middle = times[inner].mean()
    rows = np.arange(len(times))
    turn_L, shift_L = (part.ravel() for part in np.meshgrid(_TURNS, _AROUND, indexing="ij"))
    at_LT = np.clip(shift_L[:, None] + turn_L[:, None] * (times - middle), _AROUND[0], _AROUND[-1])
    place = (at_LT - _AROUND[0]) / (_AROUND[1] - _AROUND[0])
    lower = np.minimum(place.astype(np.int64), len(_AROUND) - 2)
    share = place - lower
    values = agreement[rows, lower] * (1 - share) + agreement[rows, lower + 1] * share
    best = int((values[:, inner].mean(axis=1) - 1e-3 * (np.abs(turn_L) / 0.04 + np.abs(shift_L))).argmax())
    return float(shift_L[best]), float(turn_L[best]), values[best]


def _ends(times: Floats, values: Floats, line: Line) -> tuple[float, float]:
    """The run of moments that agree."""
    gains = values - ROUGHLY / 2
    sums = np.concatenate([[0.0], np.cumsum(gains)])
    lowest = np.minimum.accumulate(sums)
    last = int(np.argmax(sums - lowest))
    first = int(np.argmin(sums[: last + 1]))
    if last - first < 2:
        return line.a
    begin = times[first] - _STEP if first == 0 else (times[first - 1] + times[first]) / 2
    end = times[last - 1] + _STEP if last == len(times) else (times[last - 1] + times[last]) / 2
    return float(begin), float(end)
