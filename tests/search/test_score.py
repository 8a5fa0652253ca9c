"""Scores in words against every pair of a small archive."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from cacl.errors import UserError
from cacl.search import score as module
from cacl.search.score import Scale, measure_scale
from cacl.search.space import Space

RNG = np.random.default_rng(0)
VIDEOS = np.repeat([f"v{i}" for i in range(12)], 5)
ROWS = (np.repeat(RNG.normal(size=(12, 8)), 5, axis=0) + RNG.normal(size=(60, 8)) * 0.3 + 2).astype(np.float32)
SPACE = Space.fit(ROWS)


def test_the_share_below_is_that_of_all_unrelated_pairs() -> None:
    z = SPACE.prepared(ROWS.astype(np.float64))[0]
    every = np.array([z[i] @ z[j] for i, j in itertools.combinations(range(60), 2) if VIDEOS[i] != VIDEOS[j]])
    scale = measure_scale(ROWS, SPACE, VIDEOS)
    assert len(scale.unrelated) == 20_000
    for score in (-0.5, 0.0, 0.3, 0.6):
        assert scale.below(score) == pytest.approx((every < score).mean(), abs=0.02)
    assert scale.below([-2, 2]).tolist() == [0, 1]
    assert scale.reached_by(0.9) == pytest.approx(np.quantile(every, 0.9), abs=0.02)


def test_the_same_seed_draws_the_same_pairs() -> None:
    first, again, other = (measure_scale(ROWS, SPACE, VIDEOS, seed=seed).unrelated for seed in (0, 0, 1))
    assert first.tolist() == again.tolist() != other.tolist()


def test_one_video_has_nothing_unrelated() -> None:
    for rows, videos in ((ROWS, np.zeros(60, int)), (ROWS[:0], [])):
        scale = measure_scale(rows, SPACE, videos)
        assert not len(scale.unrelated)
        assert np.isnan(scale.below(0.3))
        assert np.isnan(scale.reached_by(0.9))
        assert scale.words(0.3) == "one video: nothing to compare with"


def test_scores_in_words() -> None:
    scale = Scale(np.linspace(0, 1, 10_000, endpoint=False, dtype=np.float32))
    assert scale.words(1.0) == "nearer than any of 10 000 pairs of unrelated stretches"
    assert scale.words(0.99999) == "nearer than any of 10 000 pairs of unrelated stretches"
    assert scale.words(0.9997) == "nearer than 99.97 % of unrelated stretches"
    assert scale.words(0.95) == "nearer than 95.0 % of unrelated stretches"
    assert scale.words(0.75) == "nearer than 75 % of unrelated stretches"
    assert scale.words(0.2) == "no nearer than unrelated stretches (20 % of them are farther)"


def test_a_scale_is_kept_and_a_damaged_one_named(tmp_path: Path) -> None:
    file = tmp_path / "scale.npy"
    scale = measure_scale(ROWS, SPACE, VIDEOS)
    scale.save(file)
    assert Scale.load(file).unrelated.tolist() == scale.unrelated.tolist()
    content = file.read_bytes()
    for damaged in (b"", content[:500], content[:-1]):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match=r"scale\.npy is missing or damaged"):
            Scale.load(file)
    for wrong in (np.zeros(3), np.array([2, 1], np.float32), np.array([np.nan], np.float32)):
        np.save(file, wrong)
        with pytest.raises(UserError, match=r"scale\.npy"):
            Scale.load(file)


@pytest.mark.parametrize("whiten", [False, True])
def test_small_archives_are_scored_as_large_ones(whiten: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32) + 3
    space, videos = Space.fit(rows, whiten=whiten), np.repeat(np.arange(60), 5)
    small = measure_scale(rows, space, videos).unrelated
    monkeypatch.setattr(module, "CHUNK", 100)
    assert np.array_equal(measure_scale(rows, space, videos).unrelated, small)


@pytest.mark.parametrize("count", [60, 9_000])
def test_a_vector_that_is_no_number_is_named_as_the_archive_numbers_it(count: int) -> None:
    """Pairs are drawn at random, of a large archive some vectors at a time: it is not the place among those."""
    rows = np.resize(ROWS, (count, 8))
    rows[count - 7] = np.nan
    with pytest.raises(UserError, match=rf"vector {count - 7} holds nan"):
        measure_scale(rows, SPACE, np.arange(count))
