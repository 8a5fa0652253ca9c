"""The difference between two methods, and how sure it is: test videos and trainings are both samples.

Both methods are asked the same videos, and trained with the same seeds. A number a seed and video is taken as the sum
of an effect of the seed, one of the source video (videos cut from one film are not independent), and what is left of
both together. The three mean squares of this two-way layout give the error of the mean difference, and Satterthwaite's
degrees of freedom the t that belongs to it. Drawing few seeds with replacement, as a bootstrap does, would make the
interval too short: three seeds drawn from three have two thirds of their variance.

Shapes: S seeds, V videos, G source videos.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cacl.evaluation.choice.student import two_sided, two_sided_quantile

LEVEL = 0.05  # an interval holds the true difference in 95 of 100 comparisons
POWER_Z = 1.959964 + 0.841621  # normal quantiles: level of 5 %, seen in 80 of 100 comparisons
MOST = 100_000  # seeds or source videos that are worth naming


@dataclass(frozen=True)
class Difference:
    """First method minus second, in points (percent).

    Attributes:
        mean: over seeds and videos.
        low, high: ends of the 95 % interval; infinite where there is one source video only.
        p: probability of a difference as large where there is none, not corrected for other pairs.
        seeds, videos, sources: how many. Of one seed the interval is about these two trainings, not about the methods.
        by_seed, by_source, by_both: variance components of one seed, one source video, and one of both, points squared.
    """

    mean: float
    low: float
    high: float
    p: float
    seeds: int
    videos: int
    sources: int
    by_seed: float
    by_source: float
    by_both: float


@dataclass(frozen=True)
class Needed:
    """How many would do to see a difference; None where no number of them would, or it is not known."""

    seeds: int | None
    videos: int | None


def difference(a_SV: NDArray[np.float64], b_SV: NDArray[np.float64], sources: Sequence[str]) -> Difference:
    """Mean difference ``a - b`` with its 95 % interval over seeds and source videos.

    Args:
        a_SV, b_SV: a number a seed and video in [0, 1] of each method, such as whether the nearest video is of the
            video's class; ``[S, V]``, row s of both trained with the same seed.
        sources: which film each video was cut from, V names.

    Raises:
        ValueError: shapes that do not belong together, or nothing in them.
    """
    if a_SV.shape != b_SV.shape or a_SV.ndim != 2 or a_SV.shape[1] != len(sources) or not a_SV.size:
        raise ValueError(f"{a_SV.shape} and {b_SV.shape} numbers of {len(sources)} videos")
    (S, V), d_SV = a_SV.shape, 100.0 * (a_SV - b_SV)
    names, index_V = np.unique(np.asarray(sources), return_inverse=True)
    G, size_G = len(names), np.bincount(index_V)
    mean = float(d_SV.mean())
    sum_SG = np.stack([np.bincount(index_V, weights=row, minlength=G) for row in d_SV])
    e_SG = (sum_SG - size_G * mean) * G / V  # what each cell adds to the error of the ratio; its mean is 0
    squares = _mean_squares(e_SG)
    by_seed = max(squares.seed - squares.both, 0.0) / G
    by_source = max(squares.source - squares.both, 0.0) / S
    error, freedom = _error(squares, S, G)
    if error == 0:
        reach, p = 0.0, 1.0 if mean == 0 else 0.0
    elif math.isinf(error):
        reach, p = math.inf, 1.0
    else:
        reach, p = error * two_sided_quantile(LEVEL, freedom), two_sided(mean / error, freedom)
    return Difference(mean, mean - reach, mean + reach, p, S, V, G, by_seed, by_source, squares.both)


@dataclass(frozen=True)
class _Squares:
    """Mean squares of seeds, source videos, and both together."""

    seed: float
    source: float
    both: float


def _mean_squares(e_SG: NDArray[np.float64]) -> _Squares:
    S, G = e_SG.shape
    seed_S1, source_1G = e_SG.mean(axis=1, keepdims=True), e_SG.mean(axis=0, keepdims=True)
    seed = G * float((seed_S1**2).sum()) / (S - 1) if S > 1 else 0.0
    source = S * float((source_1G**2).sum()) / (G - 1) if G > 1 else math.inf
    both = float(((e_SG - seed_S1 - source_1G) ** 2).sum()) / ((S - 1) * (G - 1)) if S > 1 and G > 1 else 0.0
    return _Squares(seed, source, both)


def _error(squares: _Squares, S: int, G: int) -> tuple[float, float]:
    """Standard error of the mean, and its degrees of freedom (Satterthwaite 1946).

    The variance is (seed + source - both) / (S G), but never below what the source videos alone give: a component is
    not negative. The freedom is that of the sum of the first two, on the safe side.
    """
    if math.isinf(squares.source):
        return math.inf, 1.0
    variance = max(squares.seed + squares.source - squares.both, squares.source)
    if variance == 0:
        return 0.0, 1.0
    weight = (squares.seed**2 / (S - 1) if S > 1 else 0.0) + squares.source**2 / (G - 1)
    return math.sqrt(variance / (S * G)), max(1.0, variance**2 / weight)


def needed(found: Difference, points: float = 2.0) -> Needed:
    """Seeds, or test videos, with which a difference of ``points`` would be seen in 80 of 100 comparisons.

    Everything else stays as it is: more seeds on the same videos, or more videos under the same seeds. Of one seed
    nothing is known about seeds.
    """
    if found.seeds < 2 or found.sources < 2:
        return Needed(None, None)
    allowed = (points / POWER_Z) ** 2
    seeds = _least(found.by_source / found.sources, found.by_seed + found.by_both / found.sources, allowed)
    sources = _least(found.by_seed / found.seeds, found.by_source + found.by_both / found.seeds, allowed)
    videos = None if sources is None else math.ceil(sources * found.videos / found.sources)
    return Needed(None if seeds is None else max(2, seeds), videos)


def _least(fixed: float, shared: float, allowed: float) -> int | None:
    """Least n with ``fixed + shared / n <= allowed``; None where there is none below ``MOST``."""
    if fixed >= allowed:
        return None
    n = max(1, math.ceil(shared / (allowed - fixed) - 1e-9))
    return n if n <= MOST else None


def holm(p: Sequence[float]) -> list[float]:
    """Probabilities corrected for many comparisons (Holm 1979), in the order given.

    Below 0.05 after it: the chance of one false difference or more among all of them is at most 5 %.
    """
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, highest = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = highest
    return corrected
