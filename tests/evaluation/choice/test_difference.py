"""The interval of a difference: by hand, against formulas written out, and how often it is right."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from cacl.evaluation.choice.difference import Difference, difference, holm, needed

stats = pytest.importorskip("scipy.stats")
SOURCES = 97  # as the test part of nine classes of UCF101
Hits = NDArray[np.float64]


def draw(
    rng: np.random.Generator, *, seeds: int = 3, mu: tuple[float, float], training: float, own: float = 0.4
) -> tuple[Hits, Hits, list[str], float]:
    """Hits of two methods, sources, and the true difference in points.

    A hit is a latent number above 0: how easy the source and the video are for both, the source for the method
    (``own``), the training's luck (``training``), and what is left.
    """
    size_G = rng.integers(1, 7, SOURCES)
    index_V = np.repeat(np.arange(SOURCES), size_G)
    V, common = len(index_V), (0.8, 0.5, 0.8)
    easy_V = common[0] * rng.standard_normal(SOURCES)[index_V] + common[1] * rng.standard_normal(V)
    hits = []
    for level in mu:
        suits_V = own * rng.standard_normal(SOURCES)[index_V]
        luck_S1 = training * rng.standard_normal((seeds, 1))
        hits.append(
            (level + luck_S1 + easy_V + suits_V + common[2] * rng.standard_normal((seeds, V)) > 0).astype(float)
        )
    total = math.sqrt(sum(value**2 for value in (*common, own, training)))
    first, second = (NormalDist().cdf(level / total) for level in mu)
    return hits[0], hits[1], [f"g{i:03d}" for i in index_V], 100 * (first - second)


def test_one_seed_is_a_t_test_over_the_sources() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((1, 20)), rng.random((1, 20))
    found = difference(a, b, [str(i) for i in range(20)])
    expected = stats.ttest_rel(100 * a[0], 100 * b[0])
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(expected.pvalue)
    assert needed(found).seeds is None  # of one seed nothing is known about seeds


def test_sources_of_many_videos_count_as_one_each() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((2, 12)), rng.random((2, 12))
    names = [str(i) for i in range(12)]
    once = difference(a, b, names)
    five = difference(a.repeat(5, axis=1), b.repeat(5, axis=1), np.repeat(names, 5).tolist())
    assert (five.mean, five.low, five.high, five.p) == pytest.approx((once.mean, once.low, once.high, once.p))
    assert (five.videos, five.sources) == (60, 12)


def test_the_variance_against_a_literal_two_way_layout() -> None:
    rng = np.random.default_rng(2)
    S, G = 4, 9
    d = rng.normal(0.1, 0.3, (S, G)) + rng.normal(0, 0.1, (S, 1)) + rng.normal(0, 0.2, (1, G))
    found = difference(d, np.zeros_like(d), [str(g) for g in range(G)])
    x, grand = 100 * d, 100 * d.mean()
    seed = sum(G * (x[s].mean() - grand) ** 2 for s in range(S)) / (S - 1)
    source = sum(S * (x[:, g].mean() - grand) ** 2 for g in range(G)) / (G - 1)
    both = sum((x[s, g] - x[s].mean() - x[:, g].mean() + grand) ** 2 for s in range(S) for g in range(G))
    both /= (S - 1) * (G - 1)
    variance = max(seed + source - both, source)
    freedom = variance**2 / (seed**2 / (S - 1) + source**2 / (G - 1))
    reach = stats.t.isf(0.025, freedom) * math.sqrt(variance / (S * G))
    assert (found.low, found.high) == pytest.approx((grand - reach, grand + reach))
    assert found.by_both == pytest.approx(both)
    assert found.by_seed == pytest.approx(max(seed - both, 0) / G)
    assert found.by_source == pytest.approx(max(source - both, 0) / S)


def test_the_other_way_round_and_nothing_at_all() -> None:
    a, b, sources, _ = draw(np.random.default_rng(3), mu=(0.0, -0.3), training=0.08)
    there, back = difference(a, b, sources), difference(b, a, sources)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    same = difference(a, a, sources)
    assert (same.mean, same.low, same.high, same.p) == (0, 0, 0, 1)
    alone = difference(a[:, :2], b[:, :2], ["x", "x"])
    assert math.isinf(alone.high)
    assert alone.p == 1
    with pytest.raises(ValueError, match="numbers of 3 videos"):
        difference(a[:, :2], b[:, :2], ["x", "y", "z"])


@pytest.mark.parametrize(
    ("training", "own"),  # without luck, and with about 2 points of it; sources that suit one method, or not
    [(0.08, 0.4), *(pytest.param(*one, marks=pytest.mark.slow) for one in [(0.0, 0.0), (0.0, 0.4), (0.08, 0.0)])],
)
def test_without_a_difference_it_seldom_says_there_is_one(training: float, own: float) -> None:
    rng = np.random.default_rng(4)
    draws = [draw(rng, mu=(-0.2, -0.2), training=training, own=own)[:3] for _ in range(2000)]
    told = sum(difference(*one).p < 0.05 for one in draws)
    assert told / len(draws) <= 0.06


def test_a_true_difference_is_in_the_interval_in_95_of_100() -> None:
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(2000):
        a, b, sources, truth = draw(rng, mu=(-0.1, -0.4), training=0.08)
        found = difference(a, b, sources)
        held += found.low <= truth <= found.high
    assert truth == pytest.approx(9, abs=1)
    assert 0.94 <= held / 2000 <= 0.96


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seeds", "training", "low", "high"),
    [(3, 0.0, 0.95, 0.98), (3, 0.15, 0.93, 0.96), (5, 0.0, 0.94, 0.97), (5, 0.15, 0.93, 0.96)],
)
def test_coverage_elsewhere(seeds: int, training: float, low: float, high: float) -> None:
    """As ``docs/arena.md`` says: a little too long without luck of the training, a little too short with much of it."""
    rng, held = np.random.default_rng(6), 0
    for _ in range(4000):
        a, b, sources, truth = draw(rng, seeds=seeds, mu=(-0.1, -0.4), training=training)
        found = difference(a, b, sources)
        held += found.low <= truth <= found.high
    assert low <= held / 4000 <= high


def test_how_many_would_do() -> None:
    found = Difference(0, 0, 0, 1, seeds=3, videos=300, sources=100, by_seed=3.0, by_source=16.0, by_both=400.0)
    allowed = (2 / (1.959964 + 0.841621)) ** 2  # 0.5096
    enough = needed(found)
    assert enough.seeds is not None
    assert 0.16 + (3 + 4) / enough.seeds <= allowed < 0.16 + (3 + 4) / (enough.seeds - 1)
    assert enough.videos is None  # three seeds leave a variance of 1
    many = Difference(0, 0, 0, 1, seeds=10, videos=300, sources=100, by_seed=3.0, by_source=16.0, by_both=400.0)
    assert needed(many).videos == 3 * math.ceil((16 + 40) / (allowed - 0.3))
    assert needed(many, 0.1) == needed(Difference(0, 0, 0, 1, 1, 300, 100, 0, 1, 1))  # nothing would do; not known


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
